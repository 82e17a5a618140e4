"""Tensors made of numbers, and copies in another type."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.export.aten.base import Call, Writer, filled, operand, stretched
from planner.export.onnx_builder import OnnxBuilder
from planner.operators.graph_text import Batch


def _range(o: OnnxBuilder, c: Call) -> str:
    start, end, step = c.arguments.get("start", 0), c["end"], c.arguments.get("step", 1)
    if any(isinstance(bound, Batch) for bound in (start, end, step)):
        return o.node("Range", [operand(o, bound, c.result.dtype) for bound in (start, end, step)])
    return o.constant(start + step * np.arange(c.result.value.shape[0]), c.result.dtype)


def _linspace(o: OnnxBuilder, c: Call) -> str:
    return o.constant(np.linspace(c["start"], c["end"], c["steps"]), c.result.dtype)


def _eye(o: OnnxBuilder, c: Call) -> str:
    if isinstance(c["n"], Batch):
        raise ValueError("its extent is the number of samples")
    return o.constant(np.eye(c["n"]), c.result.dtype)


def _of(value: float) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        return filled(o, c.result, value)

    return write


def _full(o: OnnxBuilder, c: Call) -> str:
    return filled(o, c.result, c.arguments.get("fill_value", c.arguments.get("s")))


def _fill(o: OnnxBuilder, c: Call) -> str:
    return filled(o, c.result, c["value"])


def _copy_into(o: OnnxBuilder, c: Call) -> str:
    return stretched(o, operand(o, c["src"], c.result.dtype), c.result.dims)


def _converted(o: OnnxBuilder, c: Call) -> str:
    return operand(o, c.first, c.result.dtype)


WRITERS: Mapping[str, Writer] = {
    **dict.fromkeys(("arange", "arange.start", "arange.start_step"), _range),
    "linspace": _linspace,
    "eye": _eye,
    # What is empty is written before it is read.
    **{name: _of(0) for name in (
        "zeros", "zeros_like", "new_zeros", "zero", "empty.memory_format", "empty_like", "new_empty",
    )},
    **{name: _of(1) for name in ("ones", "ones_like", "new_ones")},
    **dict.fromkeys(("full", "full_like", "new_full", "scalar_tensor"), _full),
    "fill.Scalar": _fill,
    "fill.Tensor": _fill,
    "copy": _copy_into,
    **dict.fromkeys((
        "to.dtype", "to.device", "to.dtype_layout", "to.other", "_to_copy", "type_as", "clone", "lift_fresh_copy",
        "alias", "detach", "contiguous",
    ), _converted),
}  # fmt: skip
