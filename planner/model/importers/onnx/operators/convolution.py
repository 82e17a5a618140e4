"""Convolutions, and products with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from planner.model.importers.onnx.emitter import Start
from planner.model.importers.onnx.operators.base import BIAS, Call, Importer, static
from planner.model.importers.onnx.values import Stored, Tensor


def of_inputs(count: int) -> Start:
    """How weights begin that add up so many inputs: as torch's layers do."""
    return "uniform", max(count, 1) ** -0.5


def window_pads(
    c: Call, extents: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[int], list[int]]:
    """What a window gets before and behind the input, along each axis."""
    spatial, auto = len(extents), c.text("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = c.ints("pads", [0] * 2 * spatial)
        if len(pads) != 2 * spatial or min(pads, default=0) < 0:
            raise ValueError(f"pads are {pads[:16]}; {2 * spatial} numbers from 0 on are needed")
        return pads[:spatial], pads[spatial:]
    if auto == "VALID":
        return [0] * spatial, [0] * spatial
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad is {auto[:40]!r}, which is not known here")
    before, behind = [], []
    for extent, side, step, spread in zip(extents, kernel, stride, dilation, strict=True):
        around = max(0, (-(-extent // step) - 1) * step + spread * (side - 1) + 1 - extent)
        less, more = around // 2, around - around // 2
        before.append(less if auto == "SAME_UPPER" else more)
        behind.append(more if auto == "SAME_UPPER" else less)
    return before, behind


def along_axes(c: Call, name: str, spatial: int) -> list[int]:
    """A number for each axis, from 1 on."""
    found = c.ints(name, [1] * spatial)
    if len(found) != spatial or min(found, default=1) < 1:
        raise ValueError(f"{name} are {found[:8]}; {spatial} numbers from 1 on are needed")
    return found


def padded(c: Call, x: Tensor, before: Sequence[int], behind: Sequence[int], value: float) -> Tensor:
    """The input with a border of a number."""
    pads = [pad for pair in zip(reversed(before), reversed(behind), strict=True) for pad in pair]
    return c("constant_pad_nd", x, pads, value) if any(pads) else x


def _convolution(c: Call) -> Tensor:
    x, shape = c.tensor(), _kernel_shape(c)
    spatial = len(shape) - 2
    start = of_inputs(prod(shape[1:]))
    weight, bias = c.weight(1, start), c.weight(2, start) if c.given(2) else None
    stride, dilation = along_axes(c, "strides", spatial), along_axes(c, "dilations", spatial)
    before, behind = window_pads(c, _spatial(x, spatial), shape[2:], stride, dilation)
    if before != behind:
        x, before = padded(c, x, before, behind, 0.0), [0] * spatial
    return c(f"conv{spatial}d", x, weight, bias, stride, before, dilation, c.whole("group", 1))


def _kernel_shape(c: Call) -> Sequence[int]:
    value = c.value(1)
    shape = value.tensor.dims if isinstance(value, Stored) else static(c.tensor(1).dims)
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"its weight has shape {list(shape)}; windows along 1 to 3 axes are needed")
    if c.ints("kernel_shape", shape[2:]) != list(shape[2:]):
        raise ValueError(f"kernel_shape is {c.ints('kernel_shape')[:8]}, but its weight has shape {list(shape)}")
    return shape


def _spatial(x: Tensor, spatial: int) -> Sequence[int]:
    if x.rank != spatial + 2:
        raise ValueError(f"its input has {x.rank} dimensions; {spatial + 2} are needed")
    return static(x.dims[2:])


def _transposed_convolution(c: Call) -> Tensor:
    x, shape = c.tensor(), _kernel_shape(c)
    spatial, groups = len(shape) - 2, c.whole("group", 1)
    start = of_inputs(shape[1] * prod(shape[2:]))
    weight, bias = c.weight(1, start), c.weight(2, start) if c.given(2) else None
    stride, dilation = along_axes(c, "strides", spatial), along_axes(c, "dilations", spatial)
    extra = c.ints("output_padding", [0] * spatial)
    before, behind = _cut_off(c, _spatial(x, spatial), shape[2:], stride, dilation, extra)
    # ONNX cuts off what it is told at either side, ATen the same at both; what is left over is cut afterwards.
    both = [min(pair) for pair in zip(before, behind, strict=True)]
    name = "conv_transpose1d" if spatial == 1 else f"conv_transpose{spatial}d.input"
    found = c(name, x, weight, bias, stride, both, extra, groups, dilation)
    for axis, (first, last, at_both) in enumerate(zip(before, behind, both, strict=True), 2):
        extent = found.dims[axis]
        if (first, last) != (at_both, at_both) and isinstance(extent, int):
            found = c("slice.Tensor", found, axis, first - at_both, extent - (last - at_both))
    return found


def _cut_off(
    c: Call,
    extents: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    extra: Sequence[int],
) -> tuple[list[int], list[int]]:
    auto = c.text("auto_pad", "NOTSET")
    wanted = c.ints("output_shape", [])
    if auto in ("NOTSET", "VALID", "") and not wanted:
        return window_pads(c, extents, kernel, stride, dilation)
    if not wanted:
        wanted = [extent * step for extent, step in zip(extents, stride, strict=True)]
    wanted = wanted[-len(extents) :]
    before, behind = [], []
    for extent, side, step, spread, more, out in zip(extents, kernel, stride, dilation, extra, wanted, strict=True):
        around = step * (extent - 1) + more + (side - 1) * spread + 1 - out
        if around < 0:
            raise ValueError(f"output_shape {wanted} is beyond what its windows reach")
        less, rest = around // 2, around - around // 2
        before.append(less if auto == "SAME_UPPER" else rest)
        behind.append(rest if auto == "SAME_UPPER" else less)
    return before, behind


def _gemm(c: Call) -> Tensor:
    x, alpha, beta = c.tensor(), c.real("alpha", 1.0), c.real("beta", 1.0)
    if x.rank != 2:
        raise ValueError(f"its input has {x.rank} dimensions; rows and columns are needed")
    if c.whole("transA", 0):
        x = c("t", x)
    turned = c.whole("transB", 0)
    value = c.value(1)
    if isinstance(value, Stored) and len(value.tensor.dims) != 2:
        raise ValueError(f"its weight has shape {list(value.tensor.dims)}; rows and columns are needed")
    start = of_inputs(value.tensor.dims[1 if turned else 0]) if isinstance(value, Stored) else None
    weight = c.weight(1, start)
    bias = c.weight(2, start or BIAS) if c.given(2) else None
    if (alpha, beta) == (1, 1) and turned and (bias is None or bias.dims == weight.dims[:1]):
        return c("linear", x, weight, bias)
    weight = c("t", weight) if turned else weight
    if bias is None:
        found = c("matmul", x, weight)
        return found if alpha == 1 else c("mul.Tensor", found, alpha)
    if bias.rank > 2:
        raise ValueError("what it adds has more than 2 dimensions")
    return c("addmm", bias, x, weight, beta=beta, alpha=alpha)


def _matmul(c: Call) -> Tensor:
    one, other = c.value(0), c.value(1)
    if isinstance(other, Stored) and len(other.tensor.dims) == 2 and not isinstance(one, Stored):
        return c("matmul", c.tensor(0), c.weight(1, of_inputs(other.tensor.dims[0])))
    if isinstance(one, Stored) and len(one.tensor.dims) == 2 and not isinstance(other, Stored):
        return c("matmul", c.weight(0, of_inputs(one.tensor.dims[1])), c.tensor(1))
    left, right = c.tensor(0), c.tensor(1)
    static(left.dims[-1:])
    return c("matmul", left, right)


def _einsum(c: Call) -> Tensor:
    equation = c.text("equation").replace(" ", "")
    return c("einsum", equation, [c.tensor(place) for place in range(len(c.inputs))])


IMPORTERS: Mapping[str, Importer] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
}
