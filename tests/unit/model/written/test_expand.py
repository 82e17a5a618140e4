"""What a person writes becomes the network that it means, or an error at the place where they wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from planner.errors import DocumentError, ModelError
from planner.model.load import model_faults, model_from_json
from planner.model.shapes import model_sizes
from planner.operators.unit_graph import UnitGraph
from planner.schema.codec import content_id, decode, encode
from planner.schema.model import Conv2d, Linear, Model, Pool2d

CONV = {"op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1}
FILTERS = {"out_channels": 2, "kernel": 3}
NORM = {"op": "groupnorm", "groups": 4}
END = [{"op": "global_avg_pool"}, {"op": "linear", "out_features": 5}]
GRAPH = {"op": "graph", "nodes": ["y = neg(x)"], "result": "y"}


def written(*units: list[Any], schema: str = "model/2", **names: str) -> dict[str, Any]:
    named = [{"name": names.get(f"u{at}", f"u{at}"), "layers": layers} for at, layers in enumerate(units)]
    return {"schema": schema, "name": "m", "input": [3, 8, 8], "classes": 5, "units": named}


def test_a_unit_of_layers_that_networks_have_stays_a_list_of_them() -> None:
    plain = [
        {"op": "conv2d", "out_channels": 4, "kernel": [3, 3], "stride": [2, 2]},
        {"op": "max_pool2d", "kernel": 2},
        {"op": "residual", "body": [{"op": "relu"}]},
        {"op": "flatten"},
        {"op": "linear", "out_features": 5},
    ]
    model = model_from_json(written(plain, schema="model/1"))
    assert model.units[0].layers[0] == Conv2d("conv2d", 4, 3, stride=2)
    assert model.units[0].layers[1] == Pool2d("max_pool2d", 2, 2)
    assert model.units[0].layers[-1] == Linear("linear", 5)
    assert content_id(decode(Model, encode(model))) == content_id(model)


def test_any_other_unit_becomes_one_graph_with_named_tensors() -> None:
    model = model_from_json(written([CONV, NORM, {"op": "relu"}], END, u0="stem", u1="the end"))
    assert [len(unit.layers) for unit in model.units] == [1, 1]
    assert [name for name, _ in model.graph_tensors()] == [
        *(f"units.0.0.stem.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")),
        *(f"units.1.0.units.1.{name}" for name in ("1.weight", "1.bias")),
    ]
    assert [unit.parameters for unit in model_sizes(model)] == [8 * 3 * 9 + 3 * 8, 5 * 8 + 5]
    assert model_from_json(encode(model)) == model


def test_a_graph_of_its_own_stays_between_those_that_are_made() -> None:
    model = model_from_json(written([CONV, NORM, GRAPH, NORM, *END]))
    layers = model.units[0].layers
    assert [type(layer) for layer in layers] == [UnitGraph] * 3 and encode(layers[1])["nodes"] == GRAPH["nodes"]
    assert [name for name, _ in model.graph_tensors()][-4:] == [
        *(f"units.0.2.u0.3.{name}" for name in ("weight", "bias")),
        *(f"units.0.2.u0.5.{name}" for name in ("weight", "bias")),
    ]


def test_tokens_come_to_an_embedding() -> None:
    units: list[list[Any]] = [
        [{"op": "embedding", "entries": 11, "features": 8}, {"op": "position"}],
        [{"op": "residual", "body": [{"op": "layernorm"}, {"op": "attention", "heads": 2, "causal": True}]}],
        [{"op": "mean", "dims": [0]}, {"op": "linear", "out_features": 5}],
    ]
    model = model_from_json(written(*units) | {"input": [6], "input_dtype": "int64"})
    assert [unit.output for unit in model_sizes(model)] == [(6, 8), (6, 8), (5,)]
    assert model_from_json(encode(model)) == model
    with pytest.raises(DocumentError, match="its layer takes int64, but is given float32"):
        model_from_json(written(*units))


@pytest.mark.parametrize(
    ("units", "path", "problem"),
    [
        ([[CONV], [{"op": "groupnorm", "groups": 3}], END], "1].layers[0]", "groupnorm: 8 channels do not make 3"),
        (
            [[CONV, {"op": "branches", "branches": [[CONV], [NORM, {"op": "conv1d"} | FILTERS]]}]],
            "0].layers[1].branches[1][1]",
            "conv1d: needs channels and length, has 8×8×8",
        ),
        ([[NORM], END], "0].layers[0]", "groupnorm: 3 channels do not make 4 groups"),
        (
            [[CONV, {"op": "residual", "body": [NORM, {"op": "conv2d"} | FILTERS]}]],
            "0].layers[1]",
            "residual: body gives 2×6×6, shortcut gives 8×8×8; they must agree",
        ),
        ([[CONV, NORM, {"op": "linear", "out_features": 5}]], "0].layers[2]", "linear: needs features, or steps"),
        ([[CONV, {"op": "residual", "body": [GRAPH, NORM]}]], "0].layers[1].body[0]", "graph: a graph stands in"),
        ([[NORM | {"groups": 0}], END], "0].layers[0]", "groups is 0; it must lie between 1 and"),
        ([[CONV | {"kernel": [3, 3, 3]}, NORM]], "0].layers[0]", "conv2d: kernel has 3 numbers; 1 or 2 are"),
        ([[CONV | {"kernel": "3"}, NORM]], "0].layers[0].kernel", 'a whole number is needed, not "3"'),
        ([[{"op": "reshape", "shape": [7, -1]}]], "0].layers[0]", "reshape: 3×8×8 has 192 numbers, which do not"),
        ([[{"op": "mean", "dims": [0, 1, 2]}, NORM]], "0].layers[0]", "mean: no extent is left of a sample"),
        ([[{"op": "branches", "branches": [[]]}]], "0].layers[0]", "branches: their number is 1"),
    ],
)
def test_an_error_names_the_place_where_it_was_written(units: list[list[Any]], path: str, problem: str) -> None:
    with pytest.raises(DocumentError) as refused:
        model_from_json(written(*units))
    assert refused.value.path == f"$.units[{path}"
    assert refused.value.problem.startswith(problem)
    assert [str(fault) for fault in model_faults(written(*units))] == [str(refused.value)]


def test_an_error_among_layers_that_networks_have_names_unit_and_layer() -> None:
    with pytest.raises(ModelError, match=r"^unit 1: u1, layer 0 \(linear\): needs a flat input, has 8×8×8") as refused:
        model_from_json(written([CONV, NORM], [{"op": "linear", "out_features": 5}]))
    assert refused.value.unit == 1


def test_model_1_has_no_such_layers() -> None:
    with pytest.raises(
        DocumentError,
        match=r"^\$\.units\[0\]\.layers: unit 'u0' has a groupnorm, which model/1 has none of; model/2 has",
    ):
        model_from_json(written([CONV, NORM], END, schema="model/1"))


def test_layers_nested_too_deep_are_refused() -> None:
    layer: dict[str, Any] = NORM
    for _ in range(5):
        layer = {"op": "residual", "body": [layer]}
    with pytest.raises(DocumentError, match=r"body\[0\]: layers nested deeper than 4$"):
        model_from_json(written([CONV, layer], END))
