"""Tensors out of nothing, of another type, or filled anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import AtenOperator, Rule, StricterThanTorch, Value, family, show_shape
from planner.operators.aten.shapes import check_holds, dtype_of, same


def _made(size: Sequence[int], dtype: str | None, **_: Any) -> Value:
    return Value(tuple(size), dtype or "float32")


def _full(size: Sequence[int], fill_value: float, dtype: str | None, **_: Any) -> Value:
    dtype = dtype or dtype_of(fill_value)
    check_holds(dtype, fill_value, "fill_value")
    return Value(tuple(size), dtype)


def _full_like(self: Value, fill_value: float, dtype: str | None, **_: Any) -> Value:
    return _full(self.shape, fill_value, dtype or self.dtype)


def _new_full(self: Value, size: Sequence[int], fill_value: float, dtype: str | None, **_: Any) -> Value:
    return _full(size, fill_value, dtype or self.dtype)


def _like(self: Value, dtype: str | None, **_: Any) -> Value:
    return Value(self.shape, dtype or self.dtype)


def _new(self: Value, size: Sequence[int], dtype: str | None, **_: Any) -> Value:
    return Value(tuple(size), dtype or self.dtype)


def _scalar(s: float, dtype: str | None, **_: Any) -> Value:
    return _full((), s, dtype or "float32")


def _arange(end: float, dtype: str | None, start: float = 0, step: float = 1, **_: Any) -> Value:
    numbers = (start, end, step)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"from {start} to {end} by {step} is no range")
    dtype = dtype or ("float32" if any(isinstance(number, float) for number in numbers) else "int64")
    if dtype == "bool":
        raise ValueError("dtype is bool; numbers are needed")
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"from {start} to {end} by {step} is no range")
    if dtype == "int64":
        start, end, step = map(int, numbers)
        if step == 0:
            raise ValueError(f"step is {numbers[2]}; a whole one is needed")
        return Value((-((start - end) // step),), dtype)
    return Value((math.ceil((end - start) / step),), dtype)


def _linspace(start: float, end: float, steps: int, dtype: str | None, **_: Any) -> Value:
    if dtype == "bool":
        raise StricterThanTorch("dtype is bool; numbers are needed")
    for name, number in (("start", start), ("end", end)):
        check_holds(dtype or "float32", number, name)
    return Value((steps,), dtype or "float32")


def _eye(n: int, dtype: str | None, **_: Any) -> Value:
    return Value((n, n), dtype or "float32")


def _fill(self: Value, value: Value) -> Value:
    if value.shape:
        raise ValueError(f"value has shape {show_shape(value.shape)}; one number is needed")
    return self


def _fill_number(self: Value, value: float) -> Value:
    check_holds(self.dtype, value, "value")
    return self


def _as_other(self: Value, other: Value, **_: Any) -> Value:
    return Value(self.shape, other.dtype)


def _check_metadata(a: Value, size: Sequence[int] | None, dtype: str | None, **_: Any) -> tuple[Value, ...]:
    if (size is not None and tuple(size) != a.shape) or dtype not in (None, a.dtype):
        raise ValueError(f"it is {a}; {dtype or a.dtype} {show_shape(a.shape if size is None else size)} is asserted")
    return ()


_MADE = "*, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None"
_FORMAT = "MemoryFormat? memory_format=None"
_TO = f"bool non_blocking=False, bool copy=False, {_FORMAT}) -> Tensor(a)"

_TABLE: tuple[tuple[str, Rule], ...] = (
    (f"arange(Scalar end, {_MADE}) -> Tensor", _arange),
    (f"arange.start(Scalar start, Scalar end, {_MADE}) -> Tensor", _arange),
    (f"arange.start_step(Scalar start, Scalar end, Scalar step=1, {_MADE}) -> Tensor", _arange),
    (f"linspace(Scalar start, Scalar end, int steps, {_MADE}) -> Tensor", _linspace),
    (f"eye(SymInt n, {_MADE}) -> Tensor", _eye),
    (f"zeros(SymInt[] size, {_MADE}) -> Tensor", _made),
    (f"ones(SymInt[] size, {_MADE}) -> Tensor", _made),
    (f"empty.memory_format(SymInt[] size, {_MADE}, {_FORMAT}) -> Tensor", _made),
    (f"full(SymInt[] size, Scalar fill_value, {_MADE}) -> Tensor", _full),
    (f"full_like(Tensor self, Scalar fill_value, {_MADE}, {_FORMAT}) -> Tensor", _full_like),
    *((f"{name}_like(Tensor self, {_MADE}, {_FORMAT}) -> Tensor", _like) for name in ("empty", "zeros", "ones")),
    *((f"new_{name}(Tensor self, SymInt[] size, {_MADE}) -> Tensor", _new) for name in ("empty", "zeros", "ones")),
    (f"new_full(Tensor self, SymInt[] size, Scalar fill_value, {_MADE}) -> Tensor", _new_full),
    (f"scalar_tensor(Scalar s, {_MADE}) -> Tensor", _scalar),
    ("fill_.Scalar(Tensor(a!) self, Scalar value) -> Tensor(a!)", _fill_number),
    ("fill_.Tensor(Tensor(a!) self, Tensor value) -> Tensor(a!)", _fill),
    ("zero_(Tensor(a!) self) -> Tensor(a!)", same()),
    ("lift_fresh_copy(Tensor self) -> Tensor", same()),
    (f"to.dtype(Tensor(a) self, ScalarType dtype, {_TO}", _like),
    (f"to.device(Tensor(a) self, Device device, ScalarType dtype, {_TO}", _like),
    (f"to.dtype_layout(Tensor(a) self, {_MADE}, {_TO}", _like),
    (f"to.other(Tensor(a) self, Tensor other, {_TO}", _as_other),
    (f"_to_copy(Tensor self, {_MADE}, bool non_blocking=False, {_FORMAT}) -> Tensor", _like),
    ("type_as(Tensor self, Tensor other) -> Tensor", _as_other),
    (
        "_assert_tensor_metadata(Tensor a, SymInt[]? size=None, SymInt[]? stride=None, ScalarType? dtype=None, *, "
        "Device? device=None, Layout? layout=None) -> ()",
        _check_metadata,
    ),
)

OPERATORS = family(
    *(
        AtenOperator(signature, rule, alias="self" if signature.startswith("type_as") else None)
        for signature, rule in _TABLE
    )
)
