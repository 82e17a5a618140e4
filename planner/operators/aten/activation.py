"""Activations."""

from __future__ import annotations

from typing import Any

from planner.operators.aten.base import AtenOperator, Rule, Value, family, in_place, show_shape
from planner.operators.aten.shapes import (
    as_float,
    axis,
    check_alike,
    check_filled,
    check_floating,
    check_holds,
    check_no_bool,
    elements,
    replaced,
    same,
)

_floating = same("self", check_floating)
_number = same("self", check_no_bool)


def _as_float(self: Value) -> Value:
    return Value(self.shape, as_float(self.dtype))


def _hardtanh(self: Value, min_val: float, max_val: float) -> Value:
    if self.dtype in ("bool", "uint8"):
        raise ValueError(f"self is {self.dtype}; a type with a sign is needed")
    return self


def _celu(self: Value, alpha: float) -> Value:
    check_floating(self)
    if alpha == 0:
        raise ValueError("alpha is 0; it divides")
    return self


def _gelu(self: Value, approximate: str) -> Value:
    check_floating(self)
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate is {approximate[:20]!r}; 'none' or 'tanh' is needed")
    return self


def _rrelu(self: Value, lower: float, upper: float, **_: Any) -> Value:
    check_floating(self)
    if lower > upper:
        raise ValueError(f"lower is {lower}, above upper, {upper}")
    return self


def _threshold(self: Value, threshold: float, value: float) -> Value:
    check_no_bool(self)
    check_holds(self.dtype, threshold, "threshold")
    check_holds(self.dtype, value, "value")
    return self


def _prelu(self: Value, weight: Value) -> Value:
    check_floating(self)
    check_alike(self=self, weight=weight)
    check_filled(self)
    channels = self.shape[1] if len(self.shape) > 1 else 1
    if len(weight.shape) > 1 or elements(weight.shape) not in (1, channels):
        raise ValueError(f"weight has shape {show_shape(weight.shape)}; 1 or {channels} numbers are needed")
    return self


def _glu(self: Value, dim: int) -> Value:
    check_floating(self)
    if not self.shape:
        raise ValueError("self has no dimension to halve")
    place = axis(dim, len(self.shape))
    if self.shape[place] % 2:
        raise ValueError(f"self has {self.shape[place]} in dimension {dim}, which cannot be halved")
    return Value(replaced(self.shape, place, self.shape[place] // 2), self.dtype)


_BOTH: tuple[tuple[str, Rule], ...] = (
    ("relu(Tensor self) -> Tensor", _number),
    ("relu6(Tensor self) -> Tensor", _number),
    ("hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor", _hardtanh),
    ("leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor", _floating),
    ("elu(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor", _floating),
    ("celu(Tensor self, Scalar alpha=1.0) -> Tensor", _celu),
    ("selu(Tensor self) -> Tensor", _floating),
    ('gelu(Tensor self, *, str approximate="none") -> Tensor', _gelu),
    ("silu(Tensor self) -> Tensor", _floating),
    ("mish(Tensor self) -> Tensor", _floating),
    ("hardsigmoid(Tensor self) -> Tensor", _floating),
    ("hardswish(Tensor self) -> Tensor", _floating),
    ("sigmoid(Tensor self) -> Tensor", _as_float),
    ("tanh(Tensor self) -> Tensor", _as_float),
    ("threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor", _threshold),
    (
        "rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.33333333333333331, bool training=False, "
        "Generator? generator=None) -> Tensor",
        _rrelu,
    ),
)
"""Those that can write into their argument."""

_operators = [AtenOperator(signature, rule) for signature, rule in _BOTH]

OPERATORS = family(
    *_operators,
    *map(in_place, _operators),
    AtenOperator("softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor", _floating),
    AtenOperator("log_sigmoid(Tensor self) -> Tensor", _floating),
    AtenOperator("hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor", _floating),
    AtenOperator("softshrink(Tensor self, Scalar lambd=0.5) -> Tensor", _floating),
    AtenOperator("prelu(Tensor self, Tensor weight) -> Tensor", _prelu),
    AtenOperator("glu(Tensor self, int dim=-1) -> Tensor", _glu),
)
