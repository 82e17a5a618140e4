"""Activations, arithmetic and comparisons give what PyTorch gives, written in ONNX, for any number of samples."""

from __future__ import annotations

import pytest

from planner.operators.aten.kinds import ATEN
from tests.unit.export.graphs import IMAGE, ROW, TO_FLOAT, Case, case, differences
from tests.unit.export.runtimes import RUNTIMES, Run

_UNARY = [
    "relu",
    "relu6",
    "hardtanh(-0.5,1.5)",
    "leaky_relu",
    "leaky_relu(0.2)",
    "elu",
    "elu(0.5,1.5,0.7)",
    "celu(1.3)",
    "selu",
    "gelu",
    "silu",
    "mish",
    "hardsigmoid",
    "hardswish",
    "sigmoid",
    "tanh",
    "threshold(0.3,-0.7)",
    "rrelu",
    "softplus",
    "softplus(2.0,3.0)",
    "log_sigmoid",
    "hardshrink",
    "softshrink(0.7)",
    "exp",
    "expm1",
    "sin",
    "cos",
    "tan",
    "atan",
    "erf",
    "abs",
    "neg",
    "floor",
    "ceil",
    "round",
    "trunc",
    "sign",
    "square",
    "reciprocal",
]


def _call(text: str, value: str = "x") -> str:
    name, _, arguments = text.partition("(")
    return f"{name}({', '.join(filter(None, [value, arguments.removesuffix(')').replace(',', ', ')]))})"


def _in_place(text: str) -> str:
    name, mark, arguments = text.partition("(")
    return f"{name}_{mark}{arguments}"


_ARITHMETIC = {
    "log": case(ROW, "a = abs(x)", "log(a)"),
    "log1p": case(ROW, "a = abs(x)", "log1p(a)"),
    "log2": case(ROW, "a = abs(x)", "log2(a)"),
    "sqrt": case(ROW, "a = abs(x)", "sqrt(a)"),
    "rsqrt": case(ROW, "a = abs(x)", "b = add.Tensor(a, 0.1)", "rsqrt(b)"),
    "gelu by tanh": case(ROW, "gelu(x, approximate='tanh')"),
    "prelu": case(IMAGE, "prelu(x, $w)", w=(4,)),
    "prelu of rows": case(ROW, "prelu(x, $w)", w=(6,)),
    "prelu, one slope": case(IMAGE, "prelu(x, $w)", w=(1,)),
    "glu": case((4, 6), "glu(x, 1)"),
    "floor of whole numbers": case(
        ROW, "a = to.dtype(x, 'int64')", "b = floor(a)", "c = relu(b)", "y = to.dtype(c, 'float32')"
    ),
    "trunc of whole numbers": case(ROW, "b = to.dtype(x, 'int64')", "a = trunc(b)", TO_FLOAT),
    "exp of whole numbers": case(ROW, "a = to.dtype(x, 'int64')", "exp(a)"),
    "isnan": case(ROW, "b = log(x)", "a = isnan(b)", TO_FLOAT),
    "logical_not": case(ROW, "b = floor(x)", "a = logical_not(b)", TO_FLOAT),
    "bitwise_not": case(ROW, "c = gt.Scalar(x, 0)", "a = bitwise_not(c)", TO_FLOAT),
    "bitwise_not of numbers": case(ROW, "c = to.dtype(x, 'int64')", "a = bitwise_not(c)", TO_FLOAT),
    "add": case(IMAGE, "add.Tensor(x, $w, alpha=0.5)", w=(4, 1, 1)),
    "add a number": case(ROW, "add.Tensor(x, 2, alpha=3)"),
    "add truths": case(
        ROW,
        "b = gt.Scalar(x, 0)",
        "c = lt.Scalar(x, 1)",
        "d = add.Tensor(b, c)",
        "e = mul.Tensor(b, c)",
        "f = where.self(d, x, $w)",
        "where.self(e, f, x)",
        w=(6,),
    ),
    "add whole numbers": case(ROW, "a = to.dtype(x, 'int64')", "add.Tensor(a, x)"),
    "sub": case(ROW, "sub.Tensor(x, $w, alpha=2)", w=(6,)),
    "rsub": case(ROW, "rsub.Scalar(x, 1.5, 2)"),
    "mul": case(ROW, "mul.Tensor(x, $w)", w=(6,)),
    "mul by the samples": case(ROW, "mul.Tensor(x, 2*batch)"),
    "div": case(ROW, "div.Tensor(x, $w)", w=(6,)),
    "div whole numbers": case(ROW, "a = to.dtype(x, 'int64')", "div.Tensor(a, 3)"),
    **{
        f"div.Tensor_mode {mode} {dtype}": case(
            ROW, f"b = to.dtype(x, '{dtype}')", f"a = div.Tensor_mode(b, 2, rounding_mode={mode})", TO_FLOAT
        )
        for mode in ("'floor'", "'trunc'", "none")
        for dtype in ("float32", "int64")
    },
    **{
        f"{operator} {dtype}": case(ROW, f"b = to.dtype(x, '{dtype}')", f"a = {operator}(b, 3)", TO_FLOAT)
        for operator in ("floor_divide", "remainder.Scalar", "fmod.Scalar")
        for dtype in ("float32", "int64")
    },
    "remainder": case(ROW, "remainder.Tensor(x, $w)", w=(6,)),
    "pow": case(ROW, "pow.Tensor_Scalar(x, 3)"),
    "pow of a number": case(ROW, "pow.Scalar(1.5, x)"),
    "pow of tensors": case(ROW, "pow.Tensor_Tensor($w, x)", w=(6,)),
    "pow in place": case(ROW, "a = clone(x)", "_ = pow_.Scalar(a, 3)", "add.Tensor(a, x)"),
    "pow of tensors in place": case(ROW, "a = abs(x)", "_ = pow_.Tensor(a, $w)", "add.Tensor(a, x)", w=(6,)),
    "floor_divide in place": case(ROW, "a = clone(x)", "_ = floor_divide_.Tensor(a, 2)", "add.Tensor(a, x)"),
    "maximum": case(ROW, "maximum(x, $w)", w=(6,)),
    "minimum": case(ROW, "minimum(x, $w)", w=(6,)),
    "max.other": case(ROW, "max.other(x, $w)", w=(6,)),
    "min.other": case(ROW, "min.other(x, $w)", w=(6,)),
    "clamp": case(ROW, "clamp(x, -1, 0.5)"),
    "clamp below": case(ROW, "clamp(x, none, 0.5)"),
    "clamp_min": case(ROW, "clamp_min(x, 0.5)"),
    "clamp_max": case(ROW, "clamp_max(x, 0.5)"),
    "clamp.Tensor": case(ROW, "a = neg($w)", "clamp.Tensor(x, a, $w)", w=(6,)),
    "clamp.Tensor below": case(ROW, "clamp.Tensor(x, none, $w)", w=(6,)),
    "addcmul": case(ROW, "addcmul(x, $w, x, value=0.5)", w=(6,)),
    "addcdiv": case(ROW, "addcdiv(x, x, $w, value=2)", w=(6,)),
    "lerp": case(ROW, "lerp.Scalar(x, $w, 0.3)", w=(6,)),
    "lerp.Tensor": case(ROW, "lerp.Tensor(x, $w, $v)", w=(6,), v=(6,)),
    "where": case(ROW, "a = gt.Scalar(x, 0)", "where.self(a, x, $w)", w=(6,)),
    "where.ScalarOther": case(ROW, "a = gt.Scalar(x, 0)", "where.ScalarOther(a, x, 2.5)"),
    "where.ScalarSelf": case(ROW, "a = gt.Scalar(x, 0)", "where.ScalarSelf(a, 2.5, x)"),
    "where.Scalar": case(ROW, "b = gt.Scalar(x, 0)", "a = where.Scalar(b, 2, 3)", TO_FLOAT),
    "masked_fill": case(ROW, "a = gt.Scalar(x, 0)", "masked_fill.Scalar(x, a, -2)"),
    "masked_fill.Tensor": case(ROW, "a = gt.Scalar(x, 0)", "b = full([], 0.5)", "masked_fill.Tensor(x, a, b)"),
    **{
        f"{operator}.{form}": case(
            ROW, f"b = round({value})", f"a = {operator}.{form}(b, {other})", TO_FLOAT, **tensors
        )
        for operator in ("eq", "ne", "lt", "le", "gt", "ge")
        for form, value, other, tensors in (("Scalar", "x", "1", {}), ("Tensor", "x", "$w", {"w": (6,)}))
    },
    "compare whole numbers with a fraction": case(ROW, "b = to.dtype(x, 'int64')", "a = gt.Scalar(b, 0.5)", TO_FLOAT),
    "compare truths": case(
        ROW,
        "b = gt.Scalar(x, 0)",
        "c = lt.Scalar(x, 1)",
        "d = gt.Tensor(b, c)",
        "e = eq.Tensor(b, c)",
        "f = ne.Tensor(d, e)",
        "a = ge.Tensor(f, e)",
        TO_FLOAT,
    ),
    **{
        f"{operator}": case(ROW, "b = floor(x)", "c = lt.Scalar(x, 1)", f"a = {operator}(b, c)", TO_FLOAT)
        for operator in ("logical_and", "logical_or", "logical_xor")
    },
    **{
        f"{operator} {dtype}": case(ROW, f"b = {first}", f"c = {second}", f"a = {operator}.Tensor(b, c)", TO_FLOAT)
        for operator in ("bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__")
        for dtype, first, second in (
            ("bool", "gt.Scalar(x, 0)", "lt.Scalar(x, 1)"),
            ("int64", "to.dtype(x, 'int64')", "add.Tensor(b, 1)"),
        )
    },
}


CASES: dict[str, Case] = {
    **{name: case((3, 5), _call(name)) for name in _UNARY},
    **{
        f"{name} in place": case((3, 5), "a = clone(x)", f"b = {_call(_in_place(name), 'a')}", "add.Tensor(a, b)")
        for name in _UNARY
        if _in_place(name).partition("(")[0] in ATEN
    },
    **_ARITHMETIC,
}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    assert max(differences(CASES[name], run)) < 1e-5
