"""Arithmetic, comparisons and choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from planner.model.importers.onnx.document import DTYPES
from planner.model.importers.onnx.operators.base import Call, Importer, Operand
from planner.model.importers.onnx.values import Stored, Tensor
from planner.operators.graph_text import Training

_FLOATS: Final = ("float32", "float64", "float16")
_OF_WHOLES: Final = ("int64", "int32", "int16", "int8", "uint8")


def _unary(operator: str) -> Importer:
    def read(c: Call) -> Tensor:
        return c(operator, c.tensor())

    return read


def _operands(c: Call) -> tuple[Operand, Operand]:
    """Both, at least one of them a tensor."""
    one, other = c.operand(0), c.operand(1)
    if not isinstance(one, Tensor) and not isinstance(other, Tensor):
        one = c.tensor(0)
    return one, other


def _add(c: Call) -> Tensor:
    one, other = _operands(c)
    if not isinstance(one, Tensor):
        one, other = other, one
    return c("add.Tensor", one, other)


def _subtract(c: Call) -> Tensor:
    one, other = _operands(c)
    if not isinstance(one, Tensor):
        return c("rsub.Scalar", other, one)
    return c("sub.Tensor", one, other)


def _multiply(c: Call) -> Tensor:
    one, other = _operands(c)
    if not isinstance(one, Tensor):
        one, other = other, one
    return c("mul.Tensor", one, other)


def _divide(c: Call) -> Tensor:
    one, other = _operands(c)
    if not isinstance(one, Tensor):
        found = c("reciprocal", other)
        return found if one == 1 else c("mul.Tensor", found, one)
    if one.dtype in _OF_WHOLES:
        return c("div.Tensor_mode", one, other, rounding_mode="trunc")
    return c("div.Tensor", one, other)


def _power(c: Call) -> Tensor:
    one, other = _operands(c)
    if not isinstance(one, Tensor):
        return c("pow.Scalar", one, other)
    if isinstance(other, Tensor):
        return c("pow.Tensor_Tensor", one, other)
    if one.dtype == "float32" and other == 2:
        return c("square", one)
    return c("pow.Tensor_Scalar", one, float(other) if one.dtype == "float32" else other)


def _modulo(c: Call) -> Tensor:
    one, other = c.tensor(0), c.operand(1)
    if isinstance(other, Tensor):
        if c.whole("fmod", 0):
            raise ValueError("what it divides by has to be a constant")
        return c("remainder.Tensor", one, other)
    return c("fmod.Scalar" if c.whole("fmod", 0) else "remainder.Scalar", one, other)


def _in_pairs(c: Call, operator: str) -> Tensor:
    """Of any number of inputs, two at a time."""
    found = c.tensor(0)
    for place in range(1, len(c.inputs)):
        found = c(operator, found, c.tensor(place))
    return found


def _sum(c: Call) -> Tensor:
    return _in_pairs(c, "add.Tensor")


def _mean(c: Call) -> Tensor:
    return c("div.Tensor", _sum(c), len(c.inputs))


def _bounding(operator: str, bound: str) -> Importer:
    def read(c: Call) -> Tensor:
        if len(c.inputs) == 2:
            one, other = _operands(c)
            if not isinstance(one, Tensor):
                one, other = other, one
            if not isinstance(other, Tensor) and isinstance(one, Tensor):
                return c(bound, one, other)
        return _in_pairs(c, operator)

    return read


_SWAPPED: Final = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def _comparison(kind: str) -> Importer:
    def read(c: Call) -> Tensor:
        one, other = _operands(c)
        if not isinstance(one, Tensor):
            return c(f"{_SWAPPED[kind]}.Scalar", other, one)
        return c(f"{kind}.Tensor" if isinstance(other, Tensor) else f"{kind}.Scalar", one, other)

    return read


def _logical(operator: str) -> Importer:
    def read(c: Call) -> Tensor:
        return c(operator, c.tensor(0), c.tensor(1))

    return read


def _where(c: Call) -> Tensor:
    condition, one, other = c.tensor(0), c.operand(1), c.operand(2)
    match isinstance(one, Tensor), isinstance(other, Tensor):
        case True, True:
            return c("where.self", condition, one, other)
        case True, False:
            return c("where.ScalarOther", condition, one, other)
        case False, True:
            return c("where.ScalarSelf", condition, one, other)
    return c("where.Scalar", condition, one, other)


def _cast(c: Call) -> Tensor | Stored:
    number = c.whole("to")
    return _to(c, DTYPES.get(number, f"type {number}"))


def _cast_like(c: Call) -> Tensor | Stored:
    like = c.value(1)
    if isinstance(like, Stored):
        return _to(c, like.tensor.dtype)
    return _to(c, like.dtype if isinstance(like, Tensor) else like.arrays[0].dtype.name)


def _to(c: Call, dtype: str) -> Tensor | Stored:
    value = c.value(0)
    if isinstance(value, Stored) and value.tensor.dtype == dtype:
        return value
    x = c.tensor()
    if x.dtype == dtype:
        return x
    if dtype not in (*_FLOATS, *_OF_WHOLES, "bool"):
        raise ValueError(f"makes numbers of {dtype}, which is not known here")
    return c("to.dtype", x, dtype)


def _dropout(c: Call) -> Sequence[Tensor | None]:
    x = c.tensor()
    ratio = c.real("ratio", 0.5) if c.opset < 12 else c.number(1) if c.given(1) else 0.5
    if not isinstance(ratio, int | float) or not 0 <= ratio < 1:
        raise ValueError(f"its ratio is {ratio}; a constant of at least 0 and below 1 is needed")
    return [x if ratio == 0 else c("dropout", x, float(ratio), Training()), None]


def _identity(c: Call) -> Tensor | Stored:
    value = c.value(0)
    return value if isinstance(value, Stored) else c.tensor()


IMPORTERS: Mapping[str, Importer] = {
    **{kind: _unary(operator) for kind, operator in {
        "Abs": "abs", "Neg": "neg", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Reciprocal": "reciprocal",
        "Erf": "erf", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Atan": "atan", "Floor": "floor", "Ceil": "ceil",
        "Round": "round", "Sign": "sign", "Not": "logical_not", "IsNaN": "isnan",
    }.items()},
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Pow": _power,
    "Mod": _modulo,
    "Sum": _sum,
    "Mean": _mean,
    "Max": _bounding("maximum", "clamp_min"),
    "Min": _bounding("minimum", "clamp_max"),
    "Equal": _comparison("eq"),
    "Less": _comparison("lt"),
    "LessOrEqual": _comparison("le"),
    "Greater": _comparison("gt"),
    "GreaterOrEqual": _comparison("ge"),
    "And": _logical("logical_and"),
    "Or": _logical("logical_or"),
    "Xor": _logical("logical_xor"),
    "Where": _where,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Dropout": _dropout,
    "Identity": _identity,
}  # fmt: skip
