"""Pooling over windows of rows and columns, of a fixed size or to a fixed extent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from planner import limits
from planner.operators.base import Graph, Operator, Shape, between, image


@dataclass(frozen=True)
class Pool2d(Operator):
    """Maximum or average pooling with a square window."""

    op: Literal["max_pool2d", "avg_pool2d"]
    kernel: int
    """Side of the window."""
    stride: int
    """Step of the window."""
    padding: int = 0
    """Padding on every side, at most half the window; an average counts it as zeros, a maximum leaves it out."""
    ceil_mode: bool = False
    """Round the output's extent up, so that a partial window counts."""

    in_torch = (("max_pool2d", "MaxPool2d"), ("avg_pool2d", "AvgPool2d"))

    def __post_init__(self) -> None:
        between("kernel", self.kernel, 1, limits.MAX_KERNEL)
        between("stride", self.stride, 1, limits.MAX_KERNEL)
        between("padding", self.padding, 0, self.kernel // 2)

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        channels, height, width = image(shape)
        return (channels, self._windows(height), self._windows(width))

    def _windows(self, extent: int) -> int:
        span = extent + 2 * self.padding - self.kernel
        if not self.ceil_mode:
            return span // self.stride + 1
        count = -(-span // self.stride) + 1
        # The last window has to start inside the input or its left padding (PyTorch's rule).
        return count - 1 if (count - 1) * self.stride >= extent + self.padding else count

    def arguments(self, shape: Shape) -> Mapping[str, Any]:
        fields = dict(super().arguments(shape))
        return {"kernel_size": fields.pop("kernel"), **fields}

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        extents = list(zip(shape[1:], self.output(shape)[1:], strict=True))
        # What rounding up adds behind the padding, so that the windows fit exactly and nobody has to round.
        extra = [max(0, (out - 1) * self.stride + self.kernel - extent - 2 * self.padding) for extent, out in extents]
        if self.op == "avg_pool2d" and any(extra):
            return graph.averages(inputs[0], shape, [self._spans(extent, out) for extent, out in extents])
        window: dict[str, Any] = {
            "kernel_shape": [self.kernel] * 2,
            "strides": [self.stride] * 2,
            "pads": [self.padding, self.padding, self.padding + extra[0], self.padding + extra[1]],
        }
        if self.op == "max_pool2d":
            return graph.node("MaxPool", inputs, **window)
        return graph.node("AveragePool", inputs, count_include_pad=1, **window)

    def _spans(self, extent: int, out: int) -> list[tuple[int, int, int]]:
        """PyTorch's windows of an average along one axis: the padding counts, what lies behind it does not."""
        found = []
        for index in range(out):
            start = index * self.stride - self.padding
            end = min(start + self.kernel, extent + self.padding)
            found.append((max(start, 0), min(end, extent), end - start))
        return found


@dataclass(frozen=True)
class AdaptivePool2d(Operator):
    """Pooling to a fixed extent."""

    op: Literal["adaptive_avg_pool2d", "adaptive_max_pool2d"]
    height: int
    """Rows of the output."""
    width: int
    """Columns of the output."""

    in_torch = (
        ("adaptive_avg_pool2d", "AdaptiveAvgPool2d"),
        ("adaptive_max_pool2d", "AdaptiveMaxPool2d"),
    )

    def __post_init__(self) -> None:
        between("height", self.height, 1, limits.MAX_EXTENT)
        between("width", self.width, 1, limits.MAX_EXTENT)

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        return (image(shape)[0], self.height, self.width)

    def arguments(self, shape: Shape) -> Mapping[str, Any]:
        return {"output_size": (self.height, self.width)}

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        kind = "AveragePool" if self.op == "adaptive_avg_pool2d" else "MaxPool"
        if (self.height, self.width) == (1, 1):
            return graph.node(f"Global{kind}", inputs)
        extents = list(zip(shape[1:], (self.height, self.width), strict=True))
        if all(extent % out == 0 for extent, out in extents):
            kernel = [extent // out for extent, out in extents]
            return graph.node(kind, inputs, kernel_shape=kernel, strides=kernel)
        # PyTorch's windows along each axis.
        spans = [[(at * extent // out, -(-(at + 1) * extent // out)) for at in range(out)] for extent, out in extents]
        if kind == "MaxPool":
            return graph.maxima(inputs[0], spans)
        return graph.averages(
            inputs[0], shape, [[(first, last, last - first) for first, last in axis] for axis in spans]
        )


Family = Pool2d | AdaptivePool2d
