"""Unit graphs as text: what a line means, what is refused and where, and that nothing else is ever raised."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import DocumentError, ModelError
from planner.limits import MAX_GRAPH_NODES
from planner.model.load import model_from_json
from planner.model.shapes import model_sizes
from planner.operators.graph_text import Batch, Name, TensorName, Training, read_node
from planner.operators.unit_graph import GraphInput, GraphTensor, UnitGraph
from planner.schema.codec import content_id, decode, encode
from planner.schema.model import Model, Unit

WEIGHT = GraphTensor("conv.weight", (4, 3, 3, 3))
GRAPH = UnitGraph(
    "graph",
    ("a = conv2d(x, $conv.weight, padding=[1, 1])", "b = relu_(a)", "c = mean.dim(b, [2, 3])"),
    "c",
    (WEIGHT,),
)
MODEL = Model("model/2", "mine", (3, 8, 8), 4, (Unit("only", (GRAPH,)),))


def test_a_line_is_read_as_it_says() -> None:
    node = read_node("left, _ = split.Tensor(x, 2*batch, dim=1)")
    assert (node.results, node.operator) == (("left", "_"), "split.Tensor")
    assert (node.positional, node.named) == ((Name("x"), Batch(2)), {"dim": 1})
    node = read_node("y = dropout($a.0.b, 1e-3, training) if training")
    assert node.positional == (TensorName("a.0.b"), 0.001, Training()) and node.training_only
    node = read_node("y = pad(x, [1, -1, batch], 'reflect', none)")
    assert node.positional == (Name("x"), [1, -1, Batch(1)], "reflect", None)
    assert read_node("y = slice.Tensor(x, 1, 0, 9223372036854775807)").positional[3] == 2**63 - 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a = conv2d(x", "a value is needed|, is needed"),
        ("a = launch(x)", "'launch' is no operator that a unit can hold"),
        ("a = relu(x) b", "goes on behind its arguments with 'b'"),
        ("relu(x)", "= is needed, not '\\('"),
        ("a = relu(x, self=x, self=x)", "self is given twice"),
        ("a = relu(self=x, x)", "an argument without a name stands behind one with a name"),
        ("a = relu(`x`)", "cannot be read from '`x`\\)' on"),
        ("a = relu(1.5*batch)", "batch can be taken a whole number of times only"),
        ("a = relu([[[x]]])", "a value is needed, not '\\['"),
        ("", "a name is needed, not 'its end'"),
    ],
)
def test_a_line_that_cannot_be_read(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_node(line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"result": "d"}, "result: 'd' is computed by no node"),
        ({"nodes": ("a = relu(b)",), "tensors": ()}, r"nodes\[0\]: 'b' is read before it is computed"),
        ({"nodes": ("a = relu(x)", "a = relu(x)"), "result": "a", "tensors": ()}, r"nodes\[1\]: 'a' is taken"),
        ({"nodes": ("x = relu(x)",), "result": "x", "tensors": ()}, r"nodes\[0\]: 'x' is taken"),
        ({"tensors": ()}, r"nodes\[0\]: the unit has no tensor 'conv.weight'"),
        ({"tensors": (WEIGHT, WEIGHT)}, "tensors: two of them share a name"),
        ({"tensors": (WEIGHT, replace(WEIGHT, name="idle"))}, "tensors: no node reads 'idle'"),
        ({"nodes": ("a = relu(x)",) * (MAX_GRAPH_NODES + 1)}, "nodes: their number is 4097"),
        ({"nodes": ()}, "nodes: their number is 0"),
        (
            {"nodes": ("c = batch_norm(x, none, none, $conv.weight, none, true, 0.1, 1e-05, true)",)},
            r"nodes\[0\]: running_mean is 'conv.weight', a parameter; a buffer is needed",
        ),
    ],
)
def test_a_graph_that_does_not_hold_together(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(GRAPH, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (("c = flatten.using_ints(x, 0)",), "2 samples give"),
        (("c = mean.dim(x, [0])",), "2 samples give"),
        (("a = conv2d(x, $conv.weight)", "c = conv2d(a, $conv.weight)"), r"node 1 \(c = conv2d\): "),
        (("c = view(x, [2, -1])",), "3 samples give"),
        (("a = scalar_tensor(1.0)", "c = conv2d(x, a)"), r"node 1 \(c = conv2d\): input has 4 dimensions; 0 are"),
        (("c = to.dtype(x, 'int64')",), "is int64; float32 is needed"),
        (("c = expand(x, [batch, 3, 8, 8, 9223372036854775807])",), "node 0"),
    ],
)
def test_a_graph_that_does_not_fit_its_input(nodes: tuple[str, ...], message: str) -> None:
    tensors = (WEIGHT,) if any("$" in line for line in nodes) else ()
    with pytest.raises(ValueError, match=message):
        UnitGraph("graph", nodes, "c", tensors).output((3, 8, 8))


def test_training_and_evaluation_have_to_give_the_same_shape() -> None:
    graph = UnitGraph("graph", ("c = relu(x)",), "c", (), ("c = mean.dim(x, [2, 3])",))
    with pytest.raises(ValueError, match="its shape depends on the number of samples, or on training"):
        graph.output((3, 8, 8))


def test_values_belong_to_values_alone() -> None:
    assert GraphTensor("a", (2,), "buffer", "values", values=(1.0, 2.0)).first_content == ("values", (1.0, 2.0))
    with pytest.raises(ValueError, match="a: values: there are 1 of them, not 2"):
        GraphTensor("a", (2,), "buffer", "values", values=(1.0,))
    with pytest.raises(ValueError, match="a: values: there are 1 of them, not 0"):
        GraphTensor("a", (2,), "buffer", "constant", values=(1.0,))
    with pytest.raises(ValueError, match="words with dots between them are needed"):
        GraphTensor("../a", (2,))


def test_the_documented_description_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example is not None
    sizes = model_sizes(model_from_json(json.loads(example[1])))
    assert [unit.output for unit in sizes] == [(16, 16, 16), (10,)]
    assert [unit.parameters for unit in sizes] == [16 * 3 * 9 + 2 * 16, 16 * 10 + 10]


def test_a_layer_list_and_a_graph_have_schemas_of_their_own() -> None:
    value = encode(MODEL) | {"schema": "model/1"}
    with pytest.raises(DocumentError, match="unit 'only' is a graph, which model/1 has none of; model/2 has"):
        model_from_json(value)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_a_mutated_description_is_read_or_refused_in_words(seed: int, times: int) -> None:
    """Characters of the lines changed, dropped or doubled: a typed error with the place, or a model that holds."""
    draw = random.Random(seed)
    value = encode(MODEL)
    layer = value["units"][0]["layers"][0]
    for _ in range(times):
        index = draw.randrange(len(layer["nodes"]))
        line = layer["nodes"][index]
        at = draw.randrange(len(line))
        new = draw.choice(["", line[at] * 2, draw.choice("[](),=$.*x019_- 'ebatch")])
        layer["nodes"][index] = line[:at] + new + line[at + 1 :]
    try:
        model = model_from_json(value)
    except (DocumentError, ModelError) as error:
        assert "unit" in str(error) or "$" in str(error) or "classes" in str(error)
    else:
        assert model_from_json(encode(model)) == model


SKIPPING = Model(
    "model/2",
    "skipping",
    (3, 8, 8),
    3,
    (
        Unit("down", (UnitGraph("graph", ("p = max_pool2d(x, [2, 2])",), "p", further_results=("x",)),)),
        Unit(
            "up",
            (
                UnitGraph(
                    "graph",
                    (
                        "u = upsample_nearest2d.vec(x, none, [2.0, 2.0])",
                        "s = add.Tensor(u, skip)",
                        "m = mean.dim(s, [2, 3])",
                    ),
                    "m",
                    further_inputs=(GraphInput("skip", (3, 8, 8)),),
                ),
            ),
        ),
    ),
)
"""What the first unit was given passes beside what it makes."""


def test_several_tensors_may_pass_between_two_units() -> None:
    first, second = model_sizes(SKIPPING)
    assert (first.output, first.further, first.output_numbers) == ((3, 4, 4), ((3, 8, 8),), 3 * (16 + 64))
    assert (second.output, second.further) == ((3,), ())
    assert [SKIPPING.is_single(boundary) for boundary in range(3)] == [True, False, True]
    assert decode(Model, encode(SKIPPING)) == SKIPPING


def test_a_graph_of_single_tensors_says_nothing_of_others() -> None:
    assert content_id(GRAPH) == content_id(replace(GRAPH, further_inputs=(), further_results=()))
    assert content_id(GRAPH) != content_id(replace(GRAPH, further_results=("a",)))


def _with(model: Model, index: int, **changes: Any) -> Model:
    (graph,) = model.units[index].layers
    assert isinstance(graph, UnitGraph)
    units = list(model.units)
    units[index] = Unit(units[index].name, (replace(graph, **changes),))
    return replace(model, units=tuple(units))


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        (0, {"further_results": ()}, "unit 'up': takes 1 further inputs, but what comes before it gives 0"),
        (1, {"further_results": ("u",)}, "unit 'up': is the last, and may give one tensor alone"),
        (0, {"further_results": ("p",)}, "further_results: two of them are one tensor, or `result`"),
        (0, {"further_results": ("q",)}, "'q' is computed by no node"),
        (1, {"further_inputs": (GraphInput("skip", (3, 4, 8)),)}, "up: takes 3×4×8 as skip, but .* gives 3×8×8"),
        (1, {"further_inputs": (GraphInput("other", (3, 8, 8)),)}, "'skip' is read before it is computed"),
        (1, {"further_inputs": (GraphInput("u", (3, 8, 8)),)}, "'u' is taken"),
    ],
)
def test_units_that_do_not_give_each_other_what_they_take(index: int, changes: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, ModelError), match=message):
        model_sizes(_with(SKIPPING, index, **changes))


def test_a_further_input_has_a_name_of_its_own_and_an_extent() -> None:
    for name, shape, message in (("x", (3,), "not taken"), ("a b", (3,), "not taken"), ("a", (0,), "an extent")):
        with pytest.raises(ValueError, match=message):
            GraphInput(name, shape)
    with pytest.raises(ValueError, match="further_inputs: two of them share a name"):
        replace(GRAPH, further_inputs=(GraphInput("s", (3,)),) * 2)


def test_only_a_unit_of_one_graph_has_several_tensors() -> None:
    graph = replace(GRAPH, further_results=("a",))
    with pytest.raises(ValueError, match="has to be a unit's only layer"):
        Unit("two", (graph, GRAPH))
