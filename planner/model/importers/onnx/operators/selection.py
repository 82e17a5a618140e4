"""Parts of a tensor, borders around it, and tensors made of numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.model.importers.onnx.document import OnnxTensor
from planner.model.importers.onnx.operators.base import Call, Importer, as_known, axes_of, axis_of, check_apart, static
from planner.model.importers.onnx.values import Stored, Tensor, array_of, known
from planner.operators.graph_text import Batch


def _slice(c: Call) -> Tensor:
    x = c.tensor()
    starts, ends = c.wholes(1), c.wholes(2) if c.known(2).is_fixed else None
    if ends is None:
        ends = [2**62 if isinstance(extent, Batch) else extent for extent in c.extents(2)]
    axes = axes_of(c.wholes(3) if c.given(3) else range(len(starts)), x.rank)
    steps = c.wholes(4) if c.given(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError("its starts, ends, axes and steps are not as many as each other")
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        x = _sliced(c, x, axis, start, end, step)
    return x


def _sliced(c: Call, x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    extent = x.dims[axis]
    if isinstance(extent, Batch):
        if (start, step) == (0, 1) and end >= max(extent.times * (c.fixed_batch or 2**31), 1):
            return x
        raise ValueError("takes some of the samples, of which each has to be computed by itself")
    if step < 0:
        kept = range(extent)[_from(start, extent) : _until(end, extent) : step]
        if list(kept) != list(range(extent))[::-1]:
            return c("index_select", x, axis, _indices(c, list(kept), axis))
        return c("flip", x, [axis])
    kept = range(extent)[start:end:step]
    if len(kept) == extent:
        return x
    if not len(kept):
        raise ValueError("nothing is left of its input")
    return c("slice.Tensor", x, axis, kept[0], kept[-1] + 1, step)


def _from(start: int, extent: int) -> int | None:
    return None if start >= extent else start


def _until(end: int, extent: int) -> int | None:
    """Beyond the first element."""
    return None if end < -extent else end


def _indices(c: Call, indices: list[int], axis: int) -> Tensor:
    if not indices:
        raise ValueError("nothing is left of its input")
    return c.emitter.constant(f"{c.own_name()}.{axis}", known(indices, "int64"), False)


def _gather(c: Call) -> Tensor:
    value, index = c.value(0), as_known(c.emitter, c.value(1))
    if index is None and isinstance(value, Stored) and len(value.tensor.dims) == 2 and c.whole("axis", 0) == 0:
        table = c.weight(0, ("normal", 1.0))
        return c("embedding", table, c.tensor(1))
    x = c.tensor()
    axis = axis_of(c.whole("axis", 0), x.rank)
    check_apart(x, [axis], "takes from")
    if index is None:
        return _gathered(c, x, axis, c.tensor(1))
    array = c.array(1)
    extent = x.dims[axis]
    assert isinstance(extent, int)
    if array.size and not (-extent <= array.min() and array.max() < extent):
        raise ValueError(f"takes from beyond the {extent} of axis {axis}")
    array = np.where(array < 0, array + extent, array)
    if array.ndim == 0:
        return c("select.int", x, axis, int(array))
    flat = [int(number) for number in array.ravel()]
    if flat == list(range(flat[0], flat[0] + len(flat))):
        found = x if len(flat) == extent else c("slice.Tensor", x, axis, flat[0], flat[-1] + 1)
    else:
        found = c("index_select", x, axis, _indices(c, flat, axis))
    return found if array.ndim == 1 else c("unflatten.int", found, axis, list(array.shape))


def _gathered(c: Call, x: Tensor, axis: int, index: Tensor) -> Tensor:
    if index.rank != 1:
        flat = c("flatten.using_ints", index, 0)
        return c("unflatten.int", c("index_select", x, axis, flat), axis, list(static(index.dims)))
    return c("index_select", x, axis, index)


def _gather_elements(c: Call) -> Tensor:
    x = c.tensor()
    axis = axis_of(c.whole("axis", 0), x.rank)
    check_apart(x, [axis], "takes from")
    return c("gather", x, axis, c.tensor(1))


def _split(c: Call) -> list[Tensor]:
    x = c.tensor()
    axis = axis_of(c.whole("axis", 0), x.rank)
    check_apart(x, [axis], "parts")
    extent, count = x.dims[axis], len(c.node.outputs)
    assert isinstance(extent, int)
    sizes = c.wholes(1) if c.given(1) else c.ints("split", [])
    if not sizes:
        each = -(-extent // count)
        sizes = [min(each, extent - each * place) for place in range(count)]
    if len(sizes) != count or sum(sizes) != extent or min(sizes) < 1:
        raise ValueError(f"its parts {sizes[:16]} are not {count} that make up {extent}")
    return c.several("split_with_sizes", x, sizes, axis)


def _pad(c: Call) -> Tensor:
    x, mode = c.tensor(), c.text("mode", "constant")
    pads = c.wholes(1) if c.given(1) else c.ints("pads")
    axes = axes_of(c.wholes(3), x.rank) if c.given(3) else list(range(x.rank))
    if len(pads) != 2 * len(axes):
        raise ValueError(f"its pads are {len(pads)}; {2 * len(axes)} are needed")
    value = c.number(2) if c.given(2) else 0.0
    if value is None:
        raise ValueError("the number that it pads with has to be a constant")
    before, behind = [0] * x.rank, [0] * x.rank
    for place, axis in enumerate(axes):
        before[axis], behind[axis] = pads[place], pads[place + len(axes)]
    around = list(zip(before, behind, strict=True))
    check_apart(x, [axis for axis, pair in enumerate(around) if any(pair)], "pads")
    while around and not any(around[0]):
        around.pop(0)
    if not around:
        return x
    flat = [pad for pair in reversed(around) for pad in pair]
    if mode == "constant":
        return c("constant_pad_nd", x, flat, value)
    if mode not in ("reflect", "edge", "wrap"):
        raise ValueError(f"mode is {mode[:40]!r}, which is not known here")
    return c("pad", x, flat, {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode])


def _triangle(c: Call) -> Tensor:
    diagonal = c.number(1) if c.given(1) else 0
    if not isinstance(diagonal, int):
        raise ValueError("its diagonal has to be a constant")
    return c("triu" if c.whole("upper", 1) else "tril", c.tensor(), diagonal)


def _constant_of_shape(c: Call) -> Tensor:
    number, dtype = filling(c)
    return c("full", c.extents(0), number, dtype=dtype)


def filling(c: Call) -> tuple[int | float | bool, str]:
    """The number that ConstantOfShape is to repeat, and its type."""
    value = c.node.attributes.get("value")
    if value is None:
        return 0.0, "float32"
    if not isinstance(value, OnnxTensor) or value.numbers != 1:
        raise ValueError("its value has to be a tensor of one number")
    array = array_of(c.emitter.source, value)
    return array.ravel()[0].item(), array.dtype.name


def _range(c: Call) -> Tensor:
    start, limit, delta = (c.known(place) for place in range(3))
    if not (start.is_fixed and limit.is_fixed and delta.is_fixed):
        raise ValueError("its numbers depend on the number of samples")
    bounds = [value.arrays[0].ravel()[0].item() for value in (start, limit, delta)]
    return c("arange.start_step", *bounds, dtype=start.arrays[0].dtype.name)


IMPORTERS: Mapping[str, Importer] = {
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Split": _split,
    "Pad": _pad,
    "Trilu": _triangle,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
}
