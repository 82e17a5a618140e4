"""Indices that a network works out: shown to lie in their table, or refused."""

from __future__ import annotations

import random

import pytest
import torch

from planner.errors import ModelError
from planner.model.interpreter import GraphModule
from planner.model.shapes import model_sizes
from planner.model.tokens import token_limit
from planner.operators.lookups import most_tokens
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.inputs import MOST_TOKEN
from planner.schema.model import Linear, Model, Unit

ROWS, LENGTH = 50, 6
TABLE = GraphTensor("table", (ROWS, 4))
ENDLESS = MOST_TOKEN + 1


def graph(*nodes: str, takes: str = "int64", tensors: tuple[GraphTensor, ...] = (TABLE,)) -> UnitGraph:
    """One that chooses from a table by `i`."""
    lines = (*nodes, "e = embedding($table, i)", "m = mean.dim(e, [1])")
    return UnitGraph("graph", lines, "m", tensors, (), takes)  # type: ignore[arg-type]


def model(first: UnitGraph, dtype: str = "int64") -> Model:
    units = (Unit("first", (first, Linear("linear", 3))),)
    return Model("model/2", "tokens", (LENGTH,), 3, units, input_dtype=dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nodes", "tokens"),
    [
        pytest.param(("i = view(x, [batch, -1])",), ROWS, id="tokens"),
        pytest.param(("i = add.Tensor(x, 2)",), ROWS - 2, id="behind others"),
        pytest.param(("i = mul.Tensor(x, 7)",), 1 + (ROWS - 1) // 7, id="spread"),
        pytest.param(("i = floor_divide(x, 4)",), 4 * ROWS, id="several in one row"),
        pytest.param(("i = remainder.Scalar(x, 50)",), ENDLESS, id="hashed"),
        pytest.param(("i = clamp(x, 0, 49)",), ENDLESS, id="kept inside"),
        pytest.param(("a = ne.Scalar(x, 1)", "i = to.dtype(a, 'int64')"), ENDLESS, id="compared"),
        pytest.param(("a = to.dtype(x, 'float32')", "i = to.dtype(a, 'int64')"), ROWS, id="as a fraction"),
        pytest.param(
            ("a = slice.Tensor(x, 1, 0, 3)", "b = add_.Tensor(a, 9)", "i = clone(x)"), ROWS - 9, id="in place"
        ),
        pytest.param(
            (  # as RoBERTa counts: places of what is not padding, from behind the padding's own row on
                "a = ne.Scalar(x, 1)",
                "b = to.dtype(a, 'int32')",
                "c = cumsum(b, 1)",
                "d = type_as(c, b)",
                "e1 = mul.Tensor(d, b)",
                "f = to.dtype(e1, 'int64')",
                "i = add.Tensor(f, 1)",
            ),
            ENDLESS,
            id="positions",
        ),
        pytest.param(
            ("a = arange(6)", "b = add.Tensor(a, 44)", "i = expand(b, [batch, 6])"), ENDLESS, id="a row of them"
        ),
    ],
)
def test_tokens_are_as_many_as_their_indices_allow(nodes: tuple[str, ...], tokens: int) -> None:
    assert token_limit(model(graph(*nodes))) == tokens


def test_counted_positions_have_to_fit_their_table() -> None:
    counted = "a = ne.Scalar(x, 1)", "c = cumsum(a, 1)", "i = add.Tensor(c, 44)"  # at most 6 + 44
    with pytest.raises(
        ModelError,
        match=r"first, layer 0 \(graph\): node 3 \(e = embedding\): it chooses from 50 by numbers that may lie between "
        r"44 and 50; keep them between 0 and 49, with clamp or % for instance",
    ):
        model_sizes(model(graph(*counted)))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        pytest.param(("i = sub.Tensor(x, 1)",), "may lie between -1 and -1", id="below the table"),
        pytest.param(
            ("i = pow.Tensor_Scalar(x, 2)",), "nothing is known to bound", id="an operator that is not followed"
        ),
        pytest.param(
            ("a = arange(batch)", "b = view(a, [batch, 1])", "i = expand(b, [batch, 6])"),
            "may lie between 0 and 65535",
            id="as many rows as samples",
        ),
        pytest.param(
            ("a = cumsum(x, 0)", "b = ones_like(x)", "c = cumsum(b, 0)", "i = add.Tensor(a, c)"),
            "may lie between 1 and 65536",
            id="counted over samples",
        ),
    ],
)
def test_what_may_choose_from_beside_its_table_is_refused(nodes: tuple[str, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        model_sizes(model(graph(*nodes)))


def test_numbers_of_data_do_not_choose_unless_they_are_bound() -> None:
    cut = graph("i = to.dtype(x, 'int64')", takes="float32")
    with pytest.raises(ModelError, match=r"chooses from 50 by numbers that nothing is known to bound"):
        model_sizes(model(cut, "float32"))
    model_sizes(model(graph("a = clamp(x, 0, 49.5)", "i = to.dtype(a, 'int64')", takes="float32"), "float32"))


def test_what_is_the_same_in_every_run_is_left_to_the_first() -> None:
    """A table of buckets of distances, which follow from logarithms of places."""
    places = "a = arange(6)", "b = log1p(a)", "c = to.dtype(b, 'int64')", "i = expand(c, [batch, 6])"
    assert token_limit(model(graph(*places))) == ENDLESS


def test_places_of_the_largest_lie_in_their_dimension() -> None:
    lines = (
        "a = arange(batch)",
        "b = argmax(x, 1)",
        "e = embedding($table, x)",
        "m = index.Tensor(e, [a, b])",
    )
    chosen = UnitGraph("graph", lines, "m", (TABLE,), (), "int64")
    assert token_limit(model(chosen)) == ROWS


_STEPS = (
    "add.Tensor({}, {n})", "sub.Tensor({}, {n})", "rsub.Scalar({}, {n})", "mul.Tensor({}, {n})", "neg({})", "abs({})",
    "floor_divide({}, {p})", "div.Tensor_mode({}, {p}, rounding_mode='trunc')", "remainder.Scalar({}, {p})",
    "fmod.Scalar({}, {p})", "clamp({}, {n}, {p})", "clamp_min({}, {n})", "clamp_max({}, {p})", "cumsum({}, 1)",
    "maximum({}, {other})", "minimum({}, {other})", "add.Tensor({}, {other})", "mul.Tensor({}, {other})",
    "flip({}, [1])", "tril({})", "sign({})", "sub.Tensor({}, {other}, alpha={n})",
    "where.self({mask}, {}, {other})", "masked_fill.Scalar({}, {mask}, {n})", "roll({}, [1], [0])",
    "add_.Tensor({}, {n})", "clamp_({}, 0, {p})", "__and__.Tensor({}, {other})", "bitwise_xor.Tensor({}, {other})",
)  # fmt: skip


def _random_graph(rng: random.Random) -> UnitGraph:
    names, lines = ["x"], ["mask = gt.Scalar(x, 3)"]
    for index in range(rng.randrange(1, 6)):
        step = rng.choice(_STEPS)
        numbers = {"n": rng.randrange(-9, 10), "p": rng.randrange(1, 60), "other": rng.choice(names), "mask": "mask"}
        lines.append(f"v{index} = " + step.format(rng.choice(names), **numbers))
        names.append(f"v{index}")
    return graph(*lines, f"i = alias({names[-1]})")


def test_what_is_shown_to_lie_inside_does() -> None:
    """Random arithmetic on tokens, run by torch with as many tokens as are allowed."""
    rng = random.Random(0)
    generator = torch.Generator().manual_seed(0)
    accepted = 0
    for _ in range(600):
        given = _random_graph(rng)
        try:
            limit = most_tokens(given, (LENGTH,), 1000)
        except ValueError:
            continue
        accepted += 1
        module = GraphModule(given)
        tokens = torch.randint(limit, (64, LENGTH), generator=generator)
        tokens[:2], tokens[2:4] = limit - 1, 0
        with torch.no_grad():
            module(tokens)  # IndexError where one is beside the table
    assert accepted > 100
