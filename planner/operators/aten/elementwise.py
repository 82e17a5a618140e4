"""Arithmetic, comparisons and choices, element by element."""

from __future__ import annotations

from typing import Any

from planner.operators.aten.base import (
    FLOATS,
    AtenOperator,
    Rule,
    StricterThanTorch,
    Value,
    category,
    family,
    in_place,
    show_shape,
)
from planner.operators.aten.shapes import (
    Operand,
    as_float,
    broadcast,
    check_alike,
    check_floating,
    check_holds,
    check_no_bool,
    common_dtype,
    dtype_of,
    same,
    shape_of,
)


def _as_float(self: Value) -> Value:
    return Value(self.shape, as_float(self.dtype))


def _as_bool(self: Value) -> Value:
    return Value(self.shape, "bool")


def _whole(self: Value) -> Value:
    if self.dtype in FLOATS:
        raise ValueError(f"self is {self.dtype}; whole numbers or truth values are needed")
    return self


def _square(self: Value) -> Value:
    return Value(self.shape, "int64" if self.dtype == "bool" else self.dtype)


def _common(*operands: Operand) -> Value:
    return Value(broadcast(*map(shape_of, operands)), common_dtype(*operands))


def _operands(given: dict[str, Any]) -> list[Operand]:
    """Tensors and numbers among arguments. (Besides them there are no arguments where this is used.)"""
    return [value for value in given.values() if value is not None]


def _promoting(**given: Any) -> Value:
    return _common(*_operands(given))


def _numbers(**given: Any) -> Value:
    """As `_promoting`, for what is not defined on truth values."""
    result = _common(*_operands(given))
    check_no_bool(result, "the common type")
    return result


def _rounded(**given: Any) -> Value:
    """As `_numbers`, for a quotient that is made whole, or what is left of it."""
    result = _numbers(**given)
    if result.dtype not in FLOATS and not isinstance(given["other"], Value) and given["other"] == 0:
        raise ValueError("other is 0; whole numbers are not divided by it")
    return result


def _dividing(**given: Any) -> Value:
    result = _common(*_operands(given))
    return Value(result.shape, as_float(result.dtype))


def _comparing(**given: Any) -> Value:
    return Value(broadcast(*map(shape_of, _operands(given))), "bool")


def _bitwise(**given: Any) -> Value:
    return _whole(_common(*_operands(given)))


def _check_alpha(alpha: Operand, dtype: str) -> None:
    if isinstance(alpha, bool) and dtype != "bool":
        raise ValueError("alpha is true or false; a number is needed")
    if isinstance(alpha, float) and dtype not in FLOATS:
        raise ValueError(f"alpha is {alpha}; the tensors are {dtype}, so a whole number is needed")


def _add(self: Value, other: Operand, alpha: float) -> Value:
    result = _common(self, other)
    _check_alpha(alpha, result.dtype)
    return result


def _subtract(self: Value, other: Operand, alpha: float) -> Value:
    if "bool" in (dtype_of(self), dtype_of(other)):
        raise ValueError("truth values are not subtracted")
    return _add(self, other, alpha)


def _divide_to(self: Value, other: Operand, rounding_mode: str | None) -> Value:
    if rounding_mode not in (None, "trunc", "floor"):
        raise ValueError(f"rounding_mode is {rounding_mode[:20]!r}; null, 'trunc' or 'floor' is needed")
    result = _common(self, other)
    if rounding_mode is None:
        return Value(result.shape, as_float(result.dtype))
    return _rounded(self=self, other=other)


def _power(self: Operand, exponent: Operand) -> Value:
    result = _common(self, exponent)
    if result.dtype == "bool":
        raise StricterThanTorch("the common type is bool; a number is needed")
    if isinstance(exponent, int) and exponent < 0 and result.dtype not in FLOATS:
        raise ValueError(f"exponent is {exponent}; whole numbers take none below 0")
    return result


def _between(self: Value, min: Operand | None, max: Operand | None) -> Value:
    if min is None and max is None:
        raise ValueError("min or max is needed")
    result = _common(*(operand for operand in (self, min, max) if operand is not None))
    check_no_bool(result, "the common type")
    return result


def _fused(self: Value, tensor1: Value, tensor2: Value, value: Operand) -> Value:
    result = _common(self, tensor1, tensor2)
    check_no_bool(result, "the common type")
    check_holds(result.dtype, value, "value")
    if isinstance(value, float) and result.dtype not in FLOATS:
        raise StricterThanTorch(f"value is {value}; the tensors are {result.dtype}, so it would be cut")
    return result


def _fused_quotient(self: Value, tensor1: Value, tensor2: Value, value: Operand) -> Value:
    if category(tensor1.dtype) < 2 and category(tensor2.dtype) < 2:
        raise ValueError("tensor1 and tensor2 are whole numbers; one with a fraction is needed")
    return _fused(self, tensor1, tensor2, value)


def _interpolate(self: Value, end: Value, weight: Operand) -> Value:
    check_floating(self)
    check_alike(self=self, end=end)
    if isinstance(weight, Value) and weight.dtype != self.dtype:
        raise StricterThanTorch(f"self is {self.dtype}, weight {weight.dtype}")
    return Value(broadcast(*map(shape_of, (self, end, weight))), self.dtype)


def _where(condition: Value, self: Operand, other: Operand) -> Value:
    if condition.dtype not in ("bool", "uint8"):
        raise ValueError(f"condition is {condition.dtype}; bool is needed")
    return Value(broadcast(condition.shape, shape_of(self), shape_of(other)), common_dtype(self, other))


def _masked(self: Value, mask: Value, value: Operand) -> Value:
    if mask.dtype != "bool":
        raise ValueError(f"mask is {mask.dtype}; bool is needed")
    if shape_of(value):
        raise ValueError(f"value has shape {show_shape(shape_of(value))}; one number is needed")
    check_holds(self.dtype, value, "value")
    return Value(broadcast(self.shape, mask.shape), self.dtype)


_number = same("self", check_no_bool)


def _unary(names: str, rule: Rule) -> list[AtenOperator]:
    return [AtenOperator(f"{name}(Tensor self) -> Tensor", rule) for name in names.split()]


_BOTH = (
    *_unary("exp log log1p expm1 log2 sqrt rsqrt reciprocal sin cos tan atan erf", _as_float),
    *_unary("abs neg floor ceil round trunc", _number),
    *_unary("sign", same()),
    *_unary("square", _square),
    *_unary("logical_not", _as_bool),
    *_unary("bitwise_not", _whole),
    AtenOperator("add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor", _add, takes_numbers=True),
    AtenOperator("sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor", _subtract, takes_numbers=True),
    AtenOperator("mul.Tensor(Tensor self, Tensor other) -> Tensor", _promoting, takes_numbers=True),
    AtenOperator("div.Tensor(Tensor self, Tensor other) -> Tensor", _dividing, takes_numbers=True),
    AtenOperator(
        "div.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor", _divide_to, takes_numbers=True
    ),
    AtenOperator("floor_divide(Tensor self, Tensor other) -> Tensor", _rounded, takes_numbers=True),
    AtenOperator("remainder.Tensor(Tensor self, Tensor other) -> Tensor", _rounded),
    AtenOperator("remainder.Scalar(Tensor self, Scalar other) -> Tensor", _rounded),
    AtenOperator("fmod.Scalar(Tensor self, Scalar other) -> Tensor", _rounded),
    AtenOperator("pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor", _power),
    AtenOperator("pow.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor", _power),
    AtenOperator("clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor", _between),
    AtenOperator("clamp_min(Tensor self, Scalar min) -> Tensor", _numbers),
    AtenOperator("clamp_max(Tensor self, Scalar max) -> Tensor", _numbers),
    AtenOperator("addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor", _fused),
    AtenOperator("addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor", _fused_quotient),
    AtenOperator("lerp.Scalar(Tensor self, Tensor end, Scalar weight) -> Tensor", _interpolate),
    AtenOperator("masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor", _masked),
    AtenOperator("masked_fill.Tensor(Tensor self, Tensor mask, Tensor value) -> Tensor", _masked),
)
"""Those that can write into their first argument."""

_IN_PLACE = {
    "floor_divide_": "floor_divide_.Tensor",
    "pow_.Tensor_Scalar": "pow_.Scalar",
    "pow_.Tensor_Tensor": "pow_.Tensor",
}
"""Overloads that are called otherwise there."""

_COMPARISONS = [
    AtenOperator(f"{name}.{kind}(Tensor self, {kind} other) -> Tensor", _comparing)
    for name in ("eq", "ne", "lt", "le", "gt", "ge")
    for kind in ("Tensor", "Scalar")
]

OPERATORS = family(
    *_BOTH,
    *(in_place(operator, _IN_PLACE) for operator in _BOTH),
    *_COMPARISONS,
    *_unary("isnan", _as_bool),
    *(
        AtenOperator(f"{name}(Tensor self, Tensor other) -> Tensor", _comparing)
        for name in ("logical_and", "logical_or", "logical_xor")
    ),
    *(
        AtenOperator(f"{name}.Tensor(Tensor self, Tensor other) -> Tensor", _bitwise)
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__")
    ),
    AtenOperator("rsub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor", _subtract),
    AtenOperator("pow.Scalar(Scalar self, Tensor exponent) -> Tensor", _power),
    AtenOperator("maximum(Tensor self, Tensor other) -> Tensor", _promoting),
    AtenOperator("minimum(Tensor self, Tensor other) -> Tensor", _promoting),
    AtenOperator("max.other(Tensor self, Tensor other) -> Tensor", _promoting),
    AtenOperator("min.other(Tensor self, Tensor other) -> Tensor", _promoting),
    AtenOperator("atan2(Tensor self, Tensor other) -> Tensor", _dividing),
    AtenOperator("clamp.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor", _between),
    AtenOperator("lerp.Tensor(Tensor self, Tensor end, Tensor weight) -> Tensor", _interpolate),
    AtenOperator("where.self(Tensor condition, Tensor self, Tensor other) -> Tensor", _where),
    AtenOperator("where.ScalarOther(Tensor condition, Tensor self, Scalar other) -> Tensor", _where),
    AtenOperator("where.ScalarSelf(Tensor condition, Scalar self, Tensor other) -> Tensor", _where),
    AtenOperator("where.Scalar(Tensor condition, Scalar self, Scalar other) -> Tensor", _where),
)
