"""Constants and copies give what PyTorch gives, written in ONNX, for any number of samples."""

from __future__ import annotations

import pytest

from tests.unit.export.graphs import ROW, TO_FLOAT, Case, case, differences
from tests.unit.export.runtimes import RUNTIMES, Run

CASES: dict[str, Case] = {
    "arange": case(ROW, "a = arange(6)", "mul.Tensor(x, a)"),
    "arange.start": case(ROW, "a = arange.start(1, 7, dtype='float32')", "mul.Tensor(x, a)"),
    "arange.start_step": case(ROW, "a = arange.start_step(0.5, 3.5, 0.5)", "mul.Tensor(x, a)"),
    "arange of samples": case(ROW, "a = arange(batch)", "b = unsqueeze(a, 1)", "mul.Tensor(x, b)"),
    "linspace": case(ROW, "a = linspace(-1, 1, 6)", "mul.Tensor(x, a)"),
    "eye": case(ROW, "a = eye(6)", "matmul(x, a)"),
    "zeros": case(ROW, "a = zeros([batch, 2])", "cat([x, a], 1)"),
    "ones": case(ROW, "a = ones([6])", "add.Tensor(x, a)"),
    "full": case(ROW, "a = full([batch, 6], 1.5)", "add.Tensor(x, a)"),
    "full whole": case(ROW, "a = full([1, 6], 3)", "b = full_like(a, 2)", "c = mul.Tensor(a, b)", "add.Tensor(x, c)"),
    **{f"{name}_like": case(ROW, f"a = {name}_like(x)", "add.Tensor(x, a)") for name in ("zeros", "ones")},
    "new_zeros": case(ROW, "a = new_zeros(x, [batch, 6])", "add.Tensor(x, a)"),
    "new_ones": case(ROW, "a = new_ones(x, [6])", "add.Tensor(x, a)"),
    "new_full": case(ROW, "a = new_full(x, [6], 2)", "add.Tensor(x, a)"),
    "empty": case(ROW, "a = empty.memory_format([batch, 6])", "b = fill_.Scalar(a, 2)", "add.Tensor(x, b)"),
    "empty_like": case(ROW, "a = empty_like(x)", "_ = zero_(a)", "add.Tensor(x, a)"),
    "new_empty": case(ROW, "a = new_empty(x, [6])", "b = copy_(a, $w)", "add.Tensor(x, a)", w=(6,)),
    "fill_.Tensor": case(
        ROW, "a = empty_like(x)", "b = scalar_tensor(3)", "_ = fill_.Tensor(a, b)", "add.Tensor(x, a)"
    ),
    "lift_fresh_copy": case(ROW, "a = lift_fresh_copy(x)", "_ = relu_(a)", "add.Tensor(x, a)"),
    "to.device": case(ROW, "a = to.device(x, none, 'int64')", TO_FLOAT),
    "to.dtype_layout": case(ROW, "a = to.dtype_layout(x, dtype='int32')", TO_FLOAT),
    "to.other": case(ROW, "b = to.dtype(x, 'int64')", "a = to.other(x, b)", TO_FLOAT),
    "_to_copy": case(ROW, "a = _to_copy(x, dtype='int64')", TO_FLOAT),
    "type_as": case(ROW, "b = to.dtype(x, 'int64')", "a = type_as(x, b)", TO_FLOAT),
    "clone": case(ROW, "a = clone(x)", "_ = relu_(a)", "add.Tensor(x, a)"),
    "alias": case(ROW, "a = alias(x)", "b = detach(a)", "c = contiguous(b)", "relu(c)"),
}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    assert max(differences(CASES[name], run)) < 1e-5
