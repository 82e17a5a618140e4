"""Unit graphs written in Python: shapes are known at each line, and what cannot be so is refused there."""

from __future__ import annotations

import pytest
import torch

from planner.errors import ModelError
from planner.model.build import build_unit
from planner.model.graph_builder import BATCH, SAMPLES, TRAINING, ChainBuilder, GraphBuilder
from planner.model.shapes import unit_sizes
from planner.operators.graph_text import read_node
from planner.schema.codec import decode, encode
from planner.schema.model import Unit


def test_every_kind_of_value_is_written_as_it_is_read() -> None:
    g = GraphBuilder((4, 6))
    weight = g.tensor("a.weight", (4, 4), ("uniform", 0.5))
    product = g.call("matmul", weight, g.x)
    parts = g.calls("chunk", product, 2, 1)
    both = g.call("cat", [parts[1], parts[0]], 1)
    dropped = g.call("dropout", both, 1e-05, TRAINING)
    gelu = g.call("gelu", dropped, approximate="tanh")
    g.result = g.call("view", gelu, [BATCH, -1])
    graph = g.graph()
    assert graph.nodes == (
        "matmul = matmul($a.weight, x)",
        "chunk, chunk_1 = chunk(matmul, 2, 1)",
        "cat = cat([chunk_1, chunk], 1)",
        "dropout = dropout(cat, 1e-05, training)",
        "gelu = gelu(dropout, approximate='tanh')",
        "view = view(gelu, [batch, -1])",
    )
    assert graph.evaluation == ()
    assert g.result.shape == (SAMPLES, 24)
    assert unit_sizes(Unit("u", (graph,)), (4, 6)).output == (24,)
    assert decode(Unit, encode(Unit("u", (graph,)))) == Unit("u", (graph,))
    assert all(read_node(line) for line in graph.nodes)


def test_what_runs_in_training_alone_is_not_among_the_lines_of_evaluation() -> None:
    g = GraphBuilder((3,))
    count = g.tensor("count", (), ("constant", 0.0), "counter")
    g.call("add_.Tensor", count, 1, mode="counting")
    twice = g.call("mul.Tensor", g.x, 2.0)
    g.call("mul_.Tensor", twice, 3.0, mode="training")
    g.result = twice
    graph = g.graph()
    assert graph.nodes == (
        "_ = add_.Tensor($count, 1) if training",
        "mul = mul.Tensor(x, 2.0)",
        "mul_1 = mul_.Tensor(mul, 3.0)",
    )
    assert graph.evaluation == ("mul = mul.Tensor(x, 2.0)",)
    module = build_unit(Unit("u", (graph,)), (3,))
    ones = torch.ones(2, 3)
    assert module(ones).tolist() == [[6.0] * 3] * 2
    assert module.eval()(ones).tolist() == [[2.0] * 3] * 2
    assert module.state_dict()["0.count"] == 1


@pytest.mark.parametrize(
    ("operator", "arguments", "message"),
    [
        ("conv2", (), "'conv2' is no operator that a unit can hold"),
        ("relu", (1, 2), r"relu\(1, 2\): relu takes 1 arguments, not 2"),
        ("flatten.using_ints", ("x", 5), r"flatten.using_ints\(x, 5\): start_dim is 5; "),
        ("relu_", ("x",), r"relu_\(x\): writes into the unit's input"),
        ("add_.Tensor", ("view", 1), r"add_.Tensor\(view, 1\): writes into the unit's input"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_where_it_is_written(
    operator: str, arguments: tuple[object, ...], message: str
) -> None:
    g = GraphBuilder((2, 2))
    named = {"x": g.x, "view": g.call("view", g.x, [BATCH, 4])}
    with pytest.raises(ValueError, match=f"^{message}"):
        g.call(operator, *(named.get(str(value), value) for value in arguments))


def test_a_tensor_is_given_once_and_read() -> None:
    g = GraphBuilder((2,))
    g.tensor("a", (2,), ("values", (1.0, 2.0)))
    with pytest.raises(ValueError, match=r"^'a': the unit has such a tensor$"):
        g.tensor("a", (2,), ("constant", 0.0))
    with pytest.raises(ValueError, match=r"^no result was set$"):
        g.graph()
    g.result = g.x
    with pytest.raises(ValueError, match=r"^nodes: their number is 0"):
        g.graph()


def test_units_go_one_behind_another() -> None:
    chain = ChainBuilder((3, 8, 8))
    with chain.unit("first") as g:
        g.result = g.call("avg_pool2d", g.x, [2, 2])
    shapes = [chain.shape]
    with chain.unit("second") as g:
        g.result = g.call("flatten.using_ints", g.x, 1)
    assert [unit.name for unit in chain.units] == ["first", "second"]
    assert [*shapes, chain.shape] == [(3, 4, 4), (48,)]
    with (
        pytest.raises(ModelError, match=r"^unit 2: third: avg_pool2d\(x, \[2, 2\]\): ") as refused,
        chain.unit("third") as g,
    ):
        g.call("avg_pool2d", g.x, [2, 2])
    assert refused.value.unit == 2
    assert len(chain.units) == 2
