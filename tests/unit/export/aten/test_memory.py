"""What is written through one name is read through all that share the memory, as PyTorch has it."""

from __future__ import annotations

import pytest

from planner.errors import InputError
from tests.unit.export.graphs import IMAGE, ROW, Case, case, differences
from tests.unit.export.runtimes import RUNTIMES, Run

CASES: dict[str, Case] = {
    "its own name": case(ROW, "a = clone(x)", "b = relu_(a)", "c = mul_.Tensor(a, 2)", "add.Tensor(a, b)"),
    "views of one, read before and behind": case(
        IMAGE,
        "a = clone(x)",
        "b = view(a, [batch, 4, 99])",
        "c = select.int(a, 1, 0)",
        "d = relu_(b)",
        "e = sum.dim_IntList(a, [2, 3])",
        "f = sum.dim_IntList(c, [2])",
        "g = sum.dim_IntList(d, [2])",
        "cat([e, f, g], 1)",
    ),
    "select": case(IMAGE, "a = clone(x)", "b = select.int(a, 2, -2)", "_ = fill_.Scalar(b, 5)", "relu(a)"),
    "slice": case(IMAGE, "a = clone(x)", "b = slice.Tensor(a, 3, 2, -1)", "_ = neg_(b)", "relu(a)"),
    "slice of a slice": case(
        IMAGE,
        "a = clone(x)",
        "b = slice.Tensor(a, 3, 2, 7)",
        "c = slice.Tensor(b, 2, -3)",
        "_ = fill_.Scalar(c, 3)",
        "d = sum.dim_IntList(b, [3], true)",
        "add.Tensor(a, d)",
    ),
    "a whole slice": case(ROW, "a = clone(x)", "b = slice.Tensor(a, 0, 0, batch)", "_ = relu_(b)", "neg(a)"),
    "transpose": case(
        IMAGE, "a = clone(x)", "b = permute(a, [0, 2, 3, 1])", "_ = mul_.Tensor(b, $w)", "neg(a)", w=(4,)
    ),
    "unsqueeze": case(ROW, "a = clone(x)", "b = unsqueeze(a, 1)", "_ = relu_(b)", "neg(a)"),
    "parts": case(
        IMAGE,
        "a = clone(x)",
        "b, c = chunk(a, 2, 1)",
        "d, _ = split.sizes(a, [1, 3], 1)",
        "_ = relu_(c)",
        "_ = mul_.Tensor(d, 2)",
        "e = add.Tensor(b, c)",
        "f = mean.dim(a, [1], true)",
        "add.Tensor(e, f)",
    ),
    "unbind": case((3, 5), "a = clone(x)", "b, c, d = unbind.int(a, 1)", "_ = fill_.Scalar(c, 2)", "add.Tensor(a, 0)"),
    "dropout gives back its input": case(
        ROW, "a = clone(x)", "b = dropout(a, 0.5, training)", "_ = relu_(b)", "neg(a)"
    ),
    "the same type": case(ROW, "a = clone(x)", "b = to.dtype(a, 'float32')", "_ = relu_(b)", "neg(a)"),
    "another type is a copy": case(
        ROW,
        "a = clone(x)",
        "b = to.dtype(a, 'float64')",
        "_ = relu_(b)",
        "c = to.dtype(b, 'float32')",
        "add.Tensor(a, c)",
    ),
    "a copy": case(ROW, "a = clone(x)", "b = to.dtype(a, 'float32', false, true)", "_ = relu_(b)", "add.Tensor(a, b)"),
    "a mask painted bit by bit": case(
        (4, 6),
        "a = new_zeros(x, [4, 6])",
        "b = slice.Tensor(a, 0, 0, 2)",
        "c = slice.Tensor(b, 1, 3, 6)",
        "_ = fill_.Scalar(c, 1)",
        "d = slice.Tensor(a, 0, -1)",
        "_ = fill_.Scalar(d, 2)",
        "mul.Tensor(x, a)",
    ),
    "a copy of what lies in pieces, the rest unread": case(
        IMAGE, "a = transpose.int(x, 1, 2)", "b = reshape(a, [batch, 396])", "_ = relu_(b)", "neg(b)"
    ),
}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    assert max(differences(CASES[name], run)) < 1e-5


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            case(
                (1, 6),
                "a = clone(x)",
                "b = transpose.int(a, 0, 1)",
                "c = reshape(b, [6*batch])",
                "_ = relu_(c)",
                "neg(a)",
            ),
            "reads what cannot be written in ONNX",
        ),
        (
            case(ROW, "a = clone(x)", "b = slice.Tensor(a, 1, 0, 6, 2)", "_ = relu_(b)", "neg(a)"),
            "writes through a view of a kind that ONNX cannot follow",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused(given: Case, reason: str) -> None:
    with pytest.raises(InputError, match=f"^unit 'unit': .* cannot be written as ONNX here: {reason}$"):
        given.written()
