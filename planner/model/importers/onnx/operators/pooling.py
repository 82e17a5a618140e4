"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping

from planner.model.importers.onnx.operators.base import Call, Importer, static
from planner.model.importers.onnx.operators.convolution import along_axes, padded, window_pads
from planner.model.importers.onnx.values import Tensor


def _spatial(x: Tensor) -> int:
    if not 3 <= x.rank <= 5:
        raise ValueError(f"its input has {x.rank} dimensions; 3 to 5 are needed")
    return x.rank - 2


def _maximum(c: Call) -> list[Tensor | None]:
    x = c.tensor()
    spatial = _spatial(x)
    if c.whole("storage_order", 0):
        raise ValueError("storage_order is not known here")
    kernel, stride, dilation = (along_axes(c, name, spatial) for name in ("kernel_shape", "strides", "dilations"))
    before, behind = window_pads(c, static(x.dims[2:]), kernel, stride, dilation)
    if before != behind or any(2 * pad > side for pad, side in zip(before, kernel, strict=True)):
        x, before = padded(c, x, before, behind, -math.inf), [0] * spatial
    found = c(f"max_pool{spatial}d", x, kernel, stride, before, dilation, bool(c.whole("ceil_mode", 0)))
    return [found, None]


def _average(c: Call) -> Tensor:
    x = c.tensor()
    spatial = _spatial(x)
    kernel, stride, dilation = (along_axes(c, name, spatial) for name in ("kernel_shape", "strides", "dilations"))
    if max(dilation) > 1:
        raise ValueError("dilations of an average are not known here")
    extents = static(x.dims[2:])
    before, behind = window_pads(c, extents, kernel, stride, dilation)
    counts, up = bool(c.whole("count_include_pad", 0)), bool(c.whole("ceil_mode", 0))
    name = f"avg_pool{spatial}d"
    if before == behind and all(2 * pad <= side for pad, side in zip(before, kernel, strict=True)):
        return c(name, x, kernel, stride, before, up, counts)
    if up:
        raise ValueError("ceil_mode is not known here where padding differs before and behind")
    found = c(name, padded(c, x, before, behind, 0.0), kernel, stride)
    if counts:
        return found
    # What share of each window lies within the input.
    inside = padded(c, c("ones", [1, 1, *extents]), before, behind, 0.0)
    return c("div.Tensor", found, c(name, inside, kernel, stride))


def _global_average(c: Call) -> Tensor:
    x = c.tensor()
    return c(f"adaptive_avg_pool{_spatial(x)}d", x, [1] * _spatial(x))


def _global_maximum(c: Call) -> Tensor:
    x = c.tensor()
    return c(f"max_pool{_spatial(x)}d", x, list(static(x.dims[2:])))


IMPORTERS: Mapping[str, Importer] = {
    "MaxPool": _maximum,
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_maximum,
}
