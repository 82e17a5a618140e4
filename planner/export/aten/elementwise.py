"""Activations, arithmetic, comparisons and choices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from planner.export.aten.base import Call, Tensor, Writer, common, operand
from planner.export.onnx_builder import OnnxBuilder
from planner.operators.aten.base import FLOATS

_LN2: Final = math.log(2)


def _unary(kind: str) -> Writer:
    """ONNX has the same."""

    def write(o: OnnxBuilder, c: Call) -> str:
        return o.node(kind, [_self(o, c)])

    return write


def _rounding(kind: str) -> Writer:
    """ONNX has the same, but not for whole numbers, which need none."""

    def write(o: OnnxBuilder, c: Call) -> str:
        return o.node(kind, [_self(o, c)]) if c.result.dtype in FLOATS else _self(o, c)

    return write


def _self(o: OnnxBuilder, c: Call) -> str:
    return operand(o, c.first, c.result.dtype)


def _number(o: OnnxBuilder, c: Call, value: float) -> str:
    return o.number(value, c.result.dtype)


def _clip(o: OnnxBuilder, c: Call, low: float | None, high: float | None) -> str:
    bounds = ["" if bound is None else _number(o, c, bound) for bound in (low, high)]
    return o.node("Clip", [_self(o, c), *bounds])


def _relu(o: OnnxBuilder, c: Call) -> str:
    if c.result.dtype in FLOATS:
        return o.node("Relu", [_self(o, c)])
    return o.node("Max", [_self(o, c), _number(o, c, 0)])


def _relu6(o: OnnxBuilder, c: Call) -> str:
    return _clip(o, c, 0, 6)


def _hardtanh(o: OnnxBuilder, c: Call) -> str:
    return _clip(o, c, c["min_val"], c["max_val"])


def _clamp(o: OnnxBuilder, c: Call) -> str:
    bounds = (c.arguments.get("min"), c.arguments.get("max"))
    if not any(isinstance(bound, Tensor) for bound in bounds):
        return _clip(o, c, *bounds)
    value = _self(o, c)
    for kind, bound in zip(("Max", "Min"), bounds, strict=True):
        value = value if bound is None else o.node(kind, [value, operand(o, bound, c.result.dtype)])
    return value


def _leaky(o: OnnxBuilder, c: Call) -> str:
    return o.node("LeakyRelu", [_self(o, c)], alpha=float(c["negative_slope"]))


def _random_leaky(o: OnnxBuilder, c: Call) -> str:
    if c["training"]:
        raise ValueError("it is random")
    return o.node("LeakyRelu", [_self(o, c)], alpha=(c["lower"] + c["upper"]) / 2)


def _elu(o: OnnxBuilder, c: Call) -> str:
    value = _self(o, c)
    inner = o.node("Mul", [value, _number(o, c, c["input_scale"])])
    low = o.node("Elu", [inner], alpha=float(c["alpha"]))
    below = o.node("Less", [value, _number(o, c, 0)])
    return o.node("Mul", [o.node("Where", [below, low, value]), _number(o, c, c["scale"])])


def _celu(o: OnnxBuilder, c: Call) -> str:
    return o.node("Celu", [_self(o, c)], alpha=float(c["alpha"]))


def _gelu(o: OnnxBuilder, c: Call) -> str:
    return o.node("Gelu", [_self(o, c)], approximate=c["approximate"])


def _silu(o: OnnxBuilder, c: Call) -> str:
    return o.node("Mul", [_self(o, c), o.node("Sigmoid", [_self(o, c)])])


def _hardsigmoid(o: OnnxBuilder, c: Call) -> str:
    return o.node("HardSigmoid", [_self(o, c)], alpha=1 / 6, beta=0.5)


def _threshold(o: OnnxBuilder, c: Call) -> str:
    above = o.node("Greater", [_self(o, c), _number(o, c, c["threshold"])])
    return o.node("Where", [above, _self(o, c), _number(o, c, c["value"])])


def _softplus(o: OnnxBuilder, c: Call) -> str:
    value = _self(o, c)
    scaled = o.node("Mul", [value, _number(o, c, c["beta"])])
    smooth = o.node("Div", [o.node("Softplus", [scaled]), _number(o, c, c["beta"])])
    linear = o.node("Greater", [scaled, _number(o, c, c["threshold"])])
    return o.node("Where", [linear, value, smooth])


def _log_sigmoid(o: OnnxBuilder, c: Call) -> str:
    return o.node("Neg", [o.node("Softplus", [o.node("Neg", [_self(o, c)])])])


def _hardshrink(o: OnnxBuilder, c: Call) -> str:
    return o.node("Shrink", [_self(o, c)], lambd=float(c["lambd"]), bias=0.0)


def _softshrink(o: OnnxBuilder, c: Call) -> str:
    return o.node("Shrink", [_self(o, c)], lambd=float(c["lambd"]), bias=float(c["lambd"]))


def _prelu(o: OnnxBuilder, c: Call) -> str:
    slope = c["weight"]
    if slope.rank and c.first.rank > 2:
        return o.node("PRelu", [_self(o, c), o.reshape(slope.name, [*slope.dims, *[1] * (c.first.rank - 2)])])
    return o.node("PRelu", [_self(o, c), slope.name])


def _glu(o: OnnxBuilder, c: Call) -> str:
    value, gate = o.nodes("Split", [_self(o, c)], 2, axis=c["dim"] % c.first.rank, num_outputs=2)
    return o.node("Mul", [value, o.node("Sigmoid", [gate])])


def _log1p(o: OnnxBuilder, c: Call) -> str:
    return o.node("Log", [o.node("Add", [_self(o, c), _number(o, c, 1)])])


def _expm1(o: OnnxBuilder, c: Call) -> str:
    return o.node("Sub", [o.node("Exp", [_self(o, c)]), _number(o, c, 1)])


def _log2(o: OnnxBuilder, c: Call) -> str:
    return o.node("Div", [o.node("Log", [_self(o, c)]), _number(o, c, _LN2)])


def _rsqrt(o: OnnxBuilder, c: Call) -> str:
    return o.node("Reciprocal", [o.node("Sqrt", [_self(o, c)])])


def _square(o: OnnxBuilder, c: Call) -> str:
    return o.node("Mul", [_self(o, c), _self(o, c)])


def _trunc(o: OnnxBuilder, c: Call) -> str:
    return _truncated(o, _self(o, c)) if c.result.dtype in FLOATS else _self(o, c)


def _truncated(o: OnnxBuilder, value: str) -> str:
    return o.node("Mul", [o.node("Sign", [value]), o.node("Floor", [o.node("Abs", [value])])])


def _is_nan(o: OnnxBuilder, c: Call) -> str:
    return o.node("IsNaN", [operand(o, c.first, "float32")])


def _bitwise_not(o: OnnxBuilder, c: Call) -> str:
    return o.node("Not" if c.result.dtype == "bool" else "BitwiseNot", [_self(o, c)])


def _pair(o: OnnxBuilder, c: Call, dtype: str | None = None) -> list[str]:
    """Both arguments in the result's type."""
    one, other, *_ = c.arguments.values()
    return [operand(o, value, dtype or c.result.dtype) for value in (one, other)]


_OF_TRUTHS: Final = {"Add": "Or", "Mul": "And"}


def _binary(kind: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        return o.node(_OF_TRUTHS[kind] if c.result.dtype == "bool" else kind, _pair(o, c))

    return write


def _scaled(kind: str) -> Writer:
    """With the second argument `alpha` times."""

    def write(o: OnnxBuilder, c: Call) -> str:
        one, other = _pair(o, c)
        if c["alpha"] != 1:
            other = o.node("Mul", [other, _number(o, c, c["alpha"])])
        return o.node(_OF_TRUTHS[kind] if c.result.dtype == "bool" else kind, [one, other])

    return write


def _subtracted_from(o: OnnxBuilder, c: Call) -> str:
    one, other = _pair(o, c)
    return o.node("Sub", [other, o.node("Mul", [one, _number(o, c, c["alpha"])])])


def _floor_division(o: OnnxBuilder, c: Call) -> str:
    one, other = _pair(o, c)
    if c.result.dtype in FLOATS:
        return o.node("Floor", [o.node("Div", [one, other])])
    rest = o.node("Mod", [one, other])  # ONNX divides whole numbers towards zero
    return o.node("Div", [o.node("Sub", [one, rest]), other])


def _divide_to(o: OnnxBuilder, c: Call) -> str:
    if c["rounding_mode"] == "floor":
        return _floor_division(o, c)
    quotient = o.node("Div", _pair(o, c))
    return _truncated(o, quotient) if c["rounding_mode"] and c.result.dtype in FLOATS else quotient


def _remainder(o: OnnxBuilder, c: Call) -> str:
    one, other = _pair(o, c)
    if c.result.dtype not in FLOATS:
        return o.node("Mod", [one, other])
    whole = o.node("Mul", [o.node("Floor", [o.node("Div", [one, other])]), other])
    return o.node("Sub", [one, whole])


def _fmod(o: OnnxBuilder, c: Call) -> str:
    return o.node("Mod", _pair(o, c), fmod=1)


def _comparing(kind: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        dtype = common(c["self"], c["other"])
        found = o.node(kind, _pair(o, c, "int32" if dtype == "bool" else dtype))
        return found

    return write


def _unequal(o: OnnxBuilder, c: Call) -> str:
    return o.node("Not", [o.node("Equal", _pair(o, c, common(c["self"], c["other"])))])


def _logical(kind: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        return o.node(kind, _pair(o, c, "bool"))

    return write


def _bitwise(kind: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        return o.node(kind if c.result.dtype == "bool" else f"Bitwise{kind}", _pair(o, c))

    return write


def _fused(kind: str) -> Writer:
    """`self + value · (tensor1 ∘ tensor2)`."""

    def write(o: OnnxBuilder, c: Call) -> str:
        inner = o.node(kind, [operand(o, c[name], c.result.dtype) for name in ("tensor1", "tensor2")])
        return o.node("Add", [_self(o, c), o.node("Mul", [inner, _number(o, c, c["value"])])])

    return write


def _lerp(o: OnnxBuilder, c: Call) -> str:
    way = o.node("Sub", [c["end"].name, _self(o, c)])
    return o.node("Add", [_self(o, c), o.node("Mul", [way, operand(o, c["weight"], c.result.dtype)])])


def _where(o: OnnxBuilder, c: Call) -> str:
    values = [operand(o, c[name], c.result.dtype) for name in ("self", "other")]
    return o.node("Where", [operand(o, c["condition"], "bool"), *values])


def _masked_fill(o: OnnxBuilder, c: Call) -> str:
    return o.node("Where", [c["mask"].name, operand(o, c["value"], c.result.dtype), _self(o, c)])


def _logical_not(o: OnnxBuilder, c: Call) -> str:
    return o.node("Not", [_self(o, c)])


WRITERS: Mapping[str, Writer] = {
    **{name: _unary(name.capitalize()) for name in (
        "sigmoid", "tanh", "mish", "selu", "exp", "log", "sqrt", "reciprocal", "sin", "cos", "tan", "atan",
        "erf", "abs", "neg", "sign",
    )},
    "hardswish": _unary("HardSwish"),
    **{name: _rounding(name.capitalize()) for name in ("floor", "ceil", "round")},
    "relu": _relu,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky,
    "rrelu": _random_leaky,
    "elu": _elu,
    "celu": _celu,
    "gelu": _gelu,
    "silu": _silu,
    "hardsigmoid": _hardsigmoid,
    "threshold": _threshold,
    "softplus": _softplus,
    "log_sigmoid": _log_sigmoid,
    "hardshrink": _hardshrink,
    "softshrink": _softshrink,
    "prelu": _prelu,
    "glu": _glu,
    "log1p": _log1p,
    "expm1": _expm1,
    "log2": _log2,
    "rsqrt": _rsqrt,
    "square": _square,
    "trunc": _trunc,
    "isnan": _is_nan,
    "bitwise_not": _bitwise_not,
    "logical_not": _logical_not,
    "add.Tensor": _scaled("Add"),
    "sub.Tensor": _scaled("Sub"),
    "rsub.Scalar": _subtracted_from,
    "mul.Tensor": _binary("Mul"),
    "div.Tensor": _binary("Div"),
    "div.Tensor_mode": _divide_to,
    "floor_divide": _floor_division,
    "remainder.Tensor": _remainder,
    "remainder.Scalar": _remainder,
    "fmod.Scalar": _fmod,
    **{name: _binary("Pow") for name in ("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar")},
    "maximum": _binary("Max"),
    "minimum": _binary("Min"),
    "max.other": _binary("Max"),
    "min.other": _binary("Min"),
    **dict.fromkeys(("clamp", "clamp.Tensor", "clamp_min", "clamp_max"), _clamp),
    "addcmul": _fused("Mul"),
    "addcdiv": _fused("Div"),
    "lerp.Scalar": _lerp,
    "lerp.Tensor": _lerp,
    **{f"where.{form}": _where for form in ("self", "ScalarOther", "ScalarSelf", "Scalar")},
    "masked_fill.Scalar": _masked_fill,
    "masked_fill.Tensor": _masked_fill,
    **{f"{name}.{form}": writer for form in ("Tensor", "Scalar") for name, writer in {
        "eq": _comparing("Equal"),
        "ne": _unequal,
        "lt": _comparing("Less"),
        "le": _comparing("LessOrEqual"),
        "gt": _comparing("Greater"),
        "ge": _comparing("GreaterOrEqual"),
    }.items()},
    "logical_and": _logical("And"),
    "logical_or": _logical("Or"),
    "logical_xor": _logical("Xor"),
    "bitwise_and.Tensor": _bitwise("And"),
    "bitwise_or.Tensor": _bitwise("Or"),
    "bitwise_xor.Tensor": _bitwise("Xor"),
    "__and__.Tensor": _bitwise("And"),
    "__or__.Tensor": _bitwise("Or"),
}  # fmt: skip
