"""Reductions give what PyTorch gives, written in ONNX, for any number of samples."""

from __future__ import annotations

import pytest

from tests.unit.export.graphs import ROW, TO_FLOAT, Case, case, differences
from tests.unit.export.runtimes import RUNTIMES, Run

CASES: dict[str, Case] = {
    **{
        f"{operator} {rest}": case((3, 4, 5), f"{operator}(x, {rest})")
        for operator in ("mean.dim", "sum.dim_IntList", "amax", "amin", "logsumexp", "std.dim", "var.dim")
        for rest in ("[2, 3]", "[-1]", "[1, 3], keepdim=true")
    },
    **{
        f"{operator} of all": case(ROW, f"a = {operator}(x)", "mul.Tensor(x, a)")
        for operator in ("mean", "sum", "prod", "max", "min")
    },
    "sum of truths": case(ROW, "b = gt.Scalar(x, 0)", "a = sum.dim_IntList(b, [1])", TO_FLOAT),
    "var of all": case(ROW, "a = sub.Tensor($w, 0.3)", "b = var(a)", "mul.Tensor(x, b)", w=(6,)),
    "std of all": case(ROW, "b = std(x, false)", "mul.Tensor(x, b)"),
    "amax of all": case(ROW, "a = amax(x)", "mul.Tensor(x, a)"),
    "prod along": case(ROW, "prod.dim_int(x, 1)"),
    "std.correction": case((3, 5), "std.correction(x, [2], correction=0)"),
    "var.correction": case((3, 5), "var.correction(x, [1, 2], correction=2, keepdim=true)"),
    "var_mean": case((3, 5), "a, b = var_mean.correction(x, [2])", "add.Tensor(a, b)"),
    **{
        f"{operator}.dim": case(
            (3, 5), f"a, i = {operator}.dim(x, 2)", "b = to.dtype(i, 'float32')", "add.Tensor(a, b)"
        )
        for operator in ("max", "min")
    },
    **{
        f"{operator} {rest}": case((3, 5), f"a = {operator}(x, {rest})", TO_FLOAT)
        for operator in ("argmax", "argmin")
        for rest in ("2", "1, true")
    },
    **{
        f"{operator} of all": case((3, 5), f"a = {operator}($w)", "mul.Tensor(x, a)", w=(3, 5))
        for operator in ("argmax", "argmin")
    },
    **{
        f"{operator}{form}": case(
            ROW, "b = gt.Scalar(x, -1)", f"c = {operator}{form}(b{rest})", "a = logical_and(b, c)", TO_FLOAT
        )
        for operator in ("all", "any")
        for form, rest in (("", ""), (".dim", ", 1, true"))
    },
    **{
        f"linalg_vector_norm {order}": case((3, 5), f"linalg_vector_norm(x, {order}, [1, 2], true)")
        for order in ("1", "2", "3", "inf", "-inf")
    },
    "cumsum": case((3, 5), "cumsum(x, 1)"),
    "topk": case(ROW, "a, i = topk(x, 3)", "b = to.dtype(i, 'float32')", "add.Tensor(a, b)"),
    "topk, smallest": case(ROW, "y, _ = topk(x, 3, 1, false)"),
    "sort": case((3, 5), "a, i = sort(x, 1)", "b = to.dtype(i, 'float32')", "add.Tensor(a, b)"),
    "sort, descending": case((3, 5), "y, _ = sort(x, -1, true)"),
}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    assert max(differences(CASES[name], run)) < 1e-5
