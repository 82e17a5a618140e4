"""All faults of a document at once, each with its place."""

from __future__ import annotations

from typing import Any

import pytest

from planner.errors import DocumentError
from planner.model.zoo import from_zoo
from planner.schema.codec import decode, encode, parse_json
from planner.schema.faults import faults
from planner.schema.model import Model
from tests.unit.corpus import documents, kind_of, name


def chain(*units: list[dict[str, Any]], **more: Any) -> Any:
    named = [{"name": f"unit{index}", "layers": layers} for index, layers in enumerate(units)]
    return {"schema": "model/2", "name": "m", "input": [3, 8, 8], "classes": 4, "units": named, **more}


def test_faults_of_several_units_are_found_at_once() -> None:
    graph = {"op": "graph", "nodes": ["a = conv2d(x, $w)", "b = relux(a)", "c = relu(a, ?)"], "result": "b"}
    names = {"op": "graph", "nodes": ["a = relu(z)", "b = relu(z)", "a = relu(q)"], "result": "c"}
    found = faults(
        Model,
        chain(
            [{"op": "conv2d", "kernel": "3"}, {"op": "relu"}, {"op": "conv2d", "out_channels": 0, "kernel": 3}],
            [{"op": "relo"}],
            [graph],
            [names],
            colour="red",
            classes=None,
        ),
    )
    assert [fault.path for fault in found] == [
        "$.classes",
        "$.units[0].layers[0].kernel",
        "$.units[0].layers[0].out_channels",
        "$.units[0].layers[2]",
        "$.units[1].layers[0].op",
        "$.units[2].layers[0].nodes[1]",
        "$.units[2].layers[0].nodes[2]",
        "$.units[3].layers[0].nodes[0]",
        "$.units[3].layers[0].nodes[2]",
        "$.units[3].layers[0].nodes[2]",
        "$.units[3].layers[0].result",
        "$.colour",
    ]
    assert found[5].problem.startswith("column 5: 'relux' is no operator that a unit can hold; relu or ")
    assert found[6].problem.startswith("column 12: cannot be read from ")


@pytest.mark.parametrize("path", documents("good") + documents("bad"), ids=name)
def test_there_are_faults_where_the_decoder_refuses_and_its_own_is_among_them(path: Any) -> None:
    try:
        value = parse_json(path.read_bytes())
    except DocumentError:
        return
    kind = kind_of(path)
    told = [str(fault) for fault in faults(kind, value)]
    try:
        decode(kind, value)
    except DocumentError as error:
        assert str(error) in told
    else:
        assert told == []


def test_a_document_of_a_newer_release_is_told_as_that_alone() -> None:
    value = encode(from_zoo("cnn6", (3, 32, 32), 10)) | {"schema": "model/9", "colour": "red"}
    assert [fault.path for fault in faults(Model, value)] == ["$.schema"]
