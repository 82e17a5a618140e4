"""Pooling, over windows and over what is left to their number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planner.export.aten.base import Call, Tensor, Writer, per_axis, static
from planner.export.onnx_builder import OnnxBuilder

Pool = Callable[[OnnxBuilder, Call, Tensor], str]


def _on_images(spatial: int, results: int, pool: Pool) -> Writer:
    """Where the input has no samples beside channels, there is one sample."""

    def write(o: OnnxBuilder, c: Call) -> list[str | None]:
        given: Tensor = c.first
        if given.rank == spatial + 2:
            return [pool(o, c, given), *[None] * (results - 1)]
        axis = o.constant([0], "int64")
        alone = Tensor((1, *given.dims), given.dtype, o.node("Unsqueeze", [given.name, axis]))
        return [o.node("Squeeze", [pool(o, c, alone), axis]), *[None] * (results - 1)]

    return write


@dataclass(frozen=True)
class _Windows:
    """Windows along each axis."""

    extents: list[int]
    out: list[int]
    kernel: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]

    @property
    def beyond(self) -> list[int]:
        """What rounding their number up adds behind the padding."""
        return [
            max(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - extent - 2 * padding)
            for extent, out, kernel, stride, padding, dilation in zip(
                self.extents, self.out, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]

    def averaged(self, *, padding_counts: bool) -> list[list[tuple[int, int, int]]]:
        """For an average: first, last exclusive, and the count. What lies behind the padding does not count."""
        found = []
        for axis, extent in enumerate(self.extents):
            windows = []
            for index in range(self.out[axis]):
                start = index * self.stride[axis] - self.padding[axis]
                end = min(start + self.kernel[axis], extent + self.padding[axis])
                inside = max(start, 0), min(end, extent)
                windows.append((*inside, end - start if padding_counts else inside[1] - inside[0]))
            found.append(windows)
        return found


def _windows(c: Call, value: Tensor, spatial: int) -> _Windows:
    kernel = per_axis(c["kernel_size"], spatial)
    return _Windows(
        list(static(value.dims[2:])),
        list(static(c.result.dims[-spatial:])),
        kernel,
        per_axis(c["stride"], spatial) if c["stride"] else kernel,
        per_axis(c["padding"], spatial),
        per_axis(c.arguments.get("dilation", [1]), spatial),
    )


def _maximum(spatial: int) -> Pool:
    def write(o: OnnxBuilder, c: Call, value: Tensor) -> str:
        windows = _windows(c, value, spatial)
        behind = [pad + extra for pad, extra in zip(windows.padding, windows.beyond, strict=True)]
        name, pads = value.name, [*windows.padding, *behind]
        if any(pad >= kernel for pad, kernel in zip(behind, windows.kernel, strict=True)):  # more than MaxPool takes
            around = o.constant([0, 0, *windows.padding, 0, 0, *behind], "int64")
            name, pads = o.node("Pad", [name, around, o.number(-math.inf)]), [0] * 2 * spatial
        return o.node(
            "MaxPool",
            [name],
            kernel_shape=windows.kernel,
            strides=windows.stride,
            pads=pads,
            dilations=windows.dilation,
        )

    return write


def _average(spatial: int) -> Pool:
    def write(o: OnnxBuilder, c: Call, value: Tensor) -> str:
        windows, divisor = _windows(c, value, spatial), c.arguments.get("divisor_override")
        counts = c["count_include_pad"] or divisor is not None
        if any(windows.beyond):
            spans = windows.averaged(padding_counts=counts)
            if divisor is not None:
                spans = [[(first, last, 1) for first, last, _ in axis] for axis in spans]
            found = o.averages(value.name, (*windows.extents,), spans)
            return found if divisor is None else o.node("Div", [found, o.number(divisor)])
        found = o.node(
            "AveragePool",
            [value.name],
            kernel_shape=windows.kernel,
            strides=windows.stride,
            pads=2 * windows.padding,
            count_include_pad=int(counts),
        )
        if divisor is None:
            return found
        return o.node("Mul", [found, o.number(math.prod(windows.kernel) / divisor)])

    return write


def _adaptive(kind: str) -> Pool:
    def write(o: OnnxBuilder, c: Call, value: Tensor) -> str:
        extents, out = static(value.dims[2:]), c["output_size"]
        if set(out) == {1}:
            return o.node(f"Global{kind}", [value.name])
        pairs = list(zip(extents, out, strict=True))
        if all(extent % count == 0 for extent, count in pairs):
            kernel = [extent // count for extent, count in pairs]
            return o.node(kind, [value.name], kernel_shape=kernel, strides=kernel)
        # PyTorch's windows along each axis.
        spans = [[(at * extent // n, -(-(at + 1) * extent // n)) for at in range(n)] for extent, n in pairs]
        if kind == "MaxPool":
            return o.maxima(value.name, spans)
        return o.averages(value.name, extents, [[(a, b, b - a) for a, b in axis] for axis in spans])

    return write


def _family(n: int) -> dict[str, Writer]:
    return {
        f"max_pool{n}d": _on_images(n, 1, _maximum(n)),
        f"max_pool{n}d_with_indices": _on_images(n, 2, _maximum(n)),
        f"avg_pool{n}d": _on_images(n, 1, _average(n)),
        f"adaptive_avg_pool{n}d": _on_images(n, 1, _adaptive("AveragePool")),
        f"adaptive_max_pool{n}d": _on_images(n, 2, _adaptive("MaxPool")),
    }


WRITERS: Mapping[str, Writer] = {**_family(1), **_family(2), **_family(3)}
