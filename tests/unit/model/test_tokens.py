from __future__ import annotations

import pytest

from planner.model.tokens import token_limit
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.inputs import MOST_TOKEN
from planner.schema.model import Linear, Model, Unit

TABLE = GraphTensor("table", (50, 4))
SMALL = GraphTensor("small", (7, 4))


def model(*nodes: str, tensors: tuple[GraphTensor, ...] = (TABLE,), takes: str = "int64") -> Model:
    graph = UnitGraph("graph", (*nodes, "m = mean.dim(e, [1])"), "m", tensors, (), takes)  # type: ignore[arg-type]
    units = (Unit("first", (graph, Linear("linear", 3))),)
    return Model("model/2", "tokens", (6,), 3, units, input_dtype="int64")


def test_the_smallest_table_that_reads_tokens_counts() -> None:
    assert token_limit(model("e = embedding($table, x)")) == 50
    moved = "v = view(x, [batch, 6])", "a = embedding($table, v)", "b = embedding($small, x)", "e = add.Tensor(a, b)"
    assert token_limit(model(*moved, tensors=(TABLE, SMALL))) == 7


def test_what_is_worked_out_of_tokens_bounds_none() -> None:
    """A table of positions, say, is read by what comes of comparing tokens."""
    positions = "z = mul.Tensor(x, 0)", "e = embedding($table, z)"
    assert token_limit(model(*positions)) == MOST_TOKEN + 1


def test_a_model_says_twice_that_it_takes_tokens() -> None:
    with pytest.raises(ValueError, match=r"unit 'first': its layer takes float32, but is given int64"):
        model("e = relu(x)", tensors=(), takes="float32")
    tokens = model("e = embedding($table, x)")
    with pytest.raises(ValueError, match=r"unit 'first': its layer takes int64, but is given float32"):
        Model("model/2", "tokens", (6,), 3, tokens.units)


def test_a_model_without_tokens_has_no_limit() -> None:
    numbers = Model("model/1", "mlp", (9,), 3, (Unit("a", (Linear("linear", 3),)),), input_dtype="float32")
    assert token_limit(numbers) == 0
