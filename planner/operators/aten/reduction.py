"""Reductions, and what runs along one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import FLOATS, AtenOperator, Rule, StricterThanTorch, Value, family
from planner.operators.aten.shapes import (
    as_float,
    axes,
    axis,
    check_filled,
    check_floating,
    check_no_bool,
    replaced,
    wider,
)


def _reduced(self: Value, dims: Sequence[int] | int | None, keepdim: bool, dtype: str) -> Value:
    """Without these dimensions; none named means all."""
    rank = len(self.shape)
    wanted = axes([dims] if isinstance(dims, int) else dims or range(rank), rank)
    if keepdim:
        return Value(tuple(1 if place in wanted else extent for place, extent in enumerate(self.shape)), dtype)
    return Value(tuple(extent for place, extent in enumerate(self.shape) if place not in wanted), dtype)


def _mean(self: Value, dim: Sequence[int] | None = None, keepdim: bool = False, dtype: str | None = None) -> Value:
    check_floating(Value((), dtype or self.dtype))
    return _reduced(self, dim, keepdim, dtype or self.dtype)


def _sum_type(self: Value, dtype: str | None) -> str:
    return dtype or (self.dtype if self.dtype in FLOATS else "int64")


def _sum(self: Value, dim: Sequence[int] | int | None = None, keepdim: bool = False, dtype: str | None = None) -> Value:
    return _reduced(self, dim, keepdim, _sum_type(self, dtype))


def _extreme(self: Value, dim: Sequence[int] = (), keepdim: bool = False) -> Value:
    check_filled(self)
    return _reduced(self, dim, keepdim, self.dtype)


def _extreme_along(self: Value, dim: int, keepdim: bool) -> tuple[Value, Value]:
    check_filled(self)
    result = _reduced(self, dim, keepdim, self.dtype)
    return result, Value(result.shape, "int64")


def _where_extreme(self: Value, dim: int | None, keepdim: bool) -> Value:
    check_filled(self)
    check_no_bool(self)
    return _reduced(self, dim, keepdim, "int64")


def _spread(self: Value, dim: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Value:
    check_floating(self)
    return _reduced(self, dim, keepdim, self.dtype)


def _spread_and_mean(self: Value, **given: Any) -> tuple[Value, Value]:
    return _spread(self, **given), _spread(self, **given)


def _any(self: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    return _reduced(self, dim, keepdim, "uint8" if self.dtype == "uint8" else "bool")


def _softmax(self: Value, dim: int, dtype: str | None) -> Value:
    check_floating(Value(self.shape, dtype or self.dtype))
    axis(dim, len(self.shape))
    return Value(self.shape, dtype or self.dtype)


def _log_sum(self: Value, dim: Sequence[int], keepdim: bool) -> Value:
    check_filled(self)
    if not dim:
        raise StricterThanTorch("dim is empty; what it means differs from type to type")
    return _reduced(self, dim, keepdim, as_float(self.dtype))


def _norm(self: Value, ord: float, dim: Sequence[int] | None, keepdim: bool, dtype: str | None) -> Value:
    check_floating(self)
    check_filled(self)
    if dtype is not None and (dtype not in FLOATS or wider(dtype, self.dtype) != dtype):
        raise ValueError(f"dtype is {dtype}, which does not hold {self.dtype}")
    return _reduced(self, dim, keepdim, dtype or self.dtype)


def _cumulative(self: Value, dim: int, dtype: str | None) -> Value:
    axis(dim, len(self.shape))
    if dtype == "bool":
        raise StricterThanTorch("dtype is bool; numbers are needed")
    return Value(self.shape, _sum_type(self, dtype))


def _largest(self: Value, k: int, dim: int, **_: Any) -> tuple[Value, Value]:
    check_no_bool(self)
    place = axis(dim, len(self.shape))
    extent = self.shape[place] if self.shape else 1
    if not 0 <= k <= extent:
        raise ValueError(f"k is {k}; the dimension has {extent}")
    shape = replaced(self.shape, place, k) if self.shape else ()
    return Value(shape, self.dtype), Value(shape, "int64")


def _sorted(self: Value, dim: int, descending: bool) -> tuple[Value, Value]:
    axis(dim, len(self.shape))
    return self, Value(self.shape, "int64")


_TYPED = "ScalarType? dtype=None) -> Tensor"
_DIM = "int dim, bool keepdim=False"
_PAIR = "(Tensor values, Tensor indices)"

_TABLE: tuple[tuple[str, Rule], ...] = (
    (f"mean(Tensor self, *, {_TYPED}", _mean),
    (f"mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, {_TYPED}", _mean),
    (f"sum(Tensor self, *, {_TYPED}", _sum),
    (f"sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, {_TYPED}", _sum),
    (f"prod(Tensor self, *, {_TYPED}", _sum),
    (f"prod.dim_int(Tensor self, {_DIM}, *, {_TYPED}", _sum),
    ("amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor", _extreme),
    ("amin(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor", _extreme),
    ("max(Tensor self) -> Tensor", _extreme),
    ("min(Tensor self) -> Tensor", _extreme),
    (f"max.dim(Tensor self, {_DIM}) -> {_PAIR}", _extreme_along),
    (f"min.dim(Tensor self, {_DIM}) -> {_PAIR}", _extreme_along),
    ("argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor", _where_extreme),
    ("argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor", _where_extreme),
    ("all(Tensor self) -> Tensor", _any),
    ("any(Tensor self) -> Tensor", _any),
    (f"all.dim(Tensor self, {_DIM}) -> Tensor", _any),
    (f"any.dim(Tensor self, {_DIM}) -> Tensor", _any),
    *(
        (f"{name}{rest}", _spread)
        for name in ("std", "var")
        for rest in (
            "(Tensor self, bool unbiased=True) -> Tensor",
            ".dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
            ".correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> Tensor",
        )
    ),
    (
        "var_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False)"
        " -> (Tensor, Tensor)",
        _spread_and_mean,
    ),
    (f"softmax.int(Tensor self, int dim, {_TYPED}", _softmax),
    (f"log_softmax.int(Tensor self, int dim, {_TYPED}", _softmax),
    ("logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor", _log_sum),
    (f"linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *, {_TYPED}", _norm),
    (f"cumsum(Tensor self, int dim, *, {_TYPED}", _cumulative),
    (f"cumprod(Tensor self, int dim, *, {_TYPED}", _cumulative),
    (f"topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool sorted=True) -> {_PAIR}", _largest),
    (f"sort(Tensor self, int dim=-1, bool descending=False) -> {_PAIR}", _sorted),
)

OPERATORS = family(*(AtenOperator(signature, rule) for signature, rule in _TABLE))
