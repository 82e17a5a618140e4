"""What makes one number of many, or an order of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from planner.export.aten.base import Call, Tensor, Writer, axes_of, operand, static
from planner.export.onnx_builder import OnnxBuilder
from planner.operators.graph_text import Batch


def _axes(c: Call) -> list[int]:
    return axes_of(c.arguments.get("dim"), c.first.rank)


def _reduced(o: OnnxBuilder, c: Call, kind: str, value: str) -> str:
    keep = int(c.arguments.get("keepdim", False))
    return o.node(kind, [value, o.constant(_axes(c), "int64")], keepdims=keep)


def _reduction(kind: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        return _reduced(o, c, kind, operand(o, c.first, c.result.dtype))

    return write


def _extreme_along(kind: str, place: str) -> Writer:
    """The extreme and where it stands."""

    def write(o: OnnxBuilder, c: Call) -> list[str]:
        at = o.node(place, [c.first.name], axis=c["dim"], keepdims=int(c["keepdim"]))
        return [_reduced(o, c, kind, c.first.name), at]

    return write


def _where_extreme(kind: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        if c["dim"] is not None:
            return o.node(kind, [c.first.name], axis=c["dim"], keepdims=int(c["keepdim"]))
        flat = o.node("Reshape", [c.first.name, o.constant([-1], "int64")])
        return o.reshape(o.node(kind, [flat], axis=0, keepdims=0), c.result.dims)

    return write


def _truth(kind: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        whole = o.cast(operand(o, c.first, "bool"), "int32")
        return o.cast(_reduced(o, c, kind, whole), c.result.dtype)

    return write


def _count(o: OnnxBuilder, c: Call) -> str:
    """How many numbers make one."""
    dims = [c.first.dims[axis] for axis in _axes(c)]
    samples = [each for each in dims if isinstance(each, Batch)]
    rest = math.prod(each for each in dims if isinstance(each, int))
    if not samples:
        return o.number(rest, c.result.dtype)
    return operand(o, Batch(samples[0].times * rest), c.result.dtype)


def _variances(o: OnnxBuilder, c: Call) -> str:
    value, axes = c.first.name, o.constant(_axes(c), "int64")
    correction = c.arguments.get("correction", int(bool(c.arguments.get("unbiased", True))))
    correction = 1 if correction is None else correction
    centred = o.node("Sub", [value, o.node("ReduceMean", [value, axes])])
    total = _reduced(o, c, "ReduceSum", o.node("Mul", [centred, centred]))
    return o.node("Div", [total, o.node("Sub", [_count(o, c), o.number(correction, c.result.dtype)])])


def _deviation(o: OnnxBuilder, c: Call) -> str:
    return o.node("Sqrt", [_variances(o, c)])


def _variance_and_mean(o: OnnxBuilder, c: Call) -> list[str]:
    return [_variances(o, c), _reduced(o, c, "ReduceMean", c.first.name)]


def _norm(o: OnnxBuilder, c: Call) -> str:
    value, order = operand(o, c.first, c.result.dtype), c["ord"]
    if order in (1, 2):
        return _reduced(o, c, f"ReduceL{order:.0f}", value)
    size = o.node("Abs", [value])
    if math.isinf(order):
        return _reduced(o, c, "ReduceMax" if order > 0 else "ReduceMin", size)
    if order == 0:
        raise ValueError("ord is 0")
    total = _reduced(o, c, "ReduceSum", o.node("Pow", [size, o.number(order)]))
    return o.node("Pow", [total, o.number(1 / order)])


def _cumulative_sum(o: OnnxBuilder, c: Call) -> str:
    return o.node("CumSum", [operand(o, c.first, c.result.dtype), o.number(_axes(c)[0], "int64")])


def _largest(o: OnnxBuilder, c: Call) -> list[str]:
    return _top(o, c.first, c["k"], c, largest=c["largest"])


def _sorted(o: OnnxBuilder, c: Call) -> list[str]:
    (count,) = static([c.first.dims[_axes(c)[0]]])
    return _top(o, c.first, count, c, largest=c["descending"])


def _top(o: OnnxBuilder, value: Tensor, k: Any, c: Call, *, largest: bool) -> list[str]:
    (k,) = static([k])
    return o.nodes("TopK", [value.name, o.constant([k], "int64")], 2, axis=c["dim"], largest=int(largest))


WRITERS: Mapping[str, Writer] = {
    **{name: _reduction("ReduceMean") for name in ("mean", "mean.dim")},
    **{name: _reduction("ReduceSum") for name in ("sum", "sum.dim_IntList")},
    **{name: _reduction("ReduceProd") for name in ("prod", "prod.dim_int")},
    **{name: _reduction("ReduceMax") for name in ("amax", "max")},
    **{name: _reduction("ReduceMin") for name in ("amin", "min")},
    "max.dim": _extreme_along("ReduceMax", "ArgMax"),
    "min.dim": _extreme_along("ReduceMin", "ArgMin"),
    "argmax": _where_extreme("ArgMax"),
    "argmin": _where_extreme("ArgMin"),
    **{name: _truth("ReduceMin") for name in ("all", "all.dim")},
    **{name: _truth("ReduceMax") for name in ("any", "any.dim")},
    **{f"var{form}": _variances for form in ("", ".dim", ".correction")},
    **{f"std{form}": _deviation for form in ("", ".dim", ".correction")},
    "var_mean.correction": _variance_and_mean,
    "logsumexp": _reduction("ReduceLogSumExp"),
    "linalg_vector_norm": _norm,
    "cumsum": _cumulative_sum,
    "topk": _largest,
    "sort": _sorted,
}
