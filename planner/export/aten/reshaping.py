"""Views, joins, cuts and choices of elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from planner.export.aten.base import LAST, Call, Tensor, Writer, moved, operand, sliced, static, stretched
from planner.export.onnx_builder import Dim, OnnxBuilder


def _reshaped(o: OnnxBuilder, c: Call) -> str:
    return o.reshape(c.first.name, c.result.dims)


def turned(name: str, c: Call) -> list[int] | None:
    """The order of axes of an operator that does nothing else; None for another."""
    rank = c.first.rank
    order = list(range(rank))
    match name:
        case "permute":
            return [dim % rank for dim in c["dims"]]
        case "transpose.int" | "swapaxes" | "t" | "mT":
            one, other = (-1, -2) if name in ("t", "mT") else list(c.arguments.values())[1:]
            if rank > 1:
                order[one], order[other] = order[other], order[one]
            return order
        case "movedim.int" | "movedim.intlist":
            sources, targets = (
                [dim % rank for dim in ([c[key]] if isinstance(c[key], int) else c[key])]
                for key in ("source", "destination")
            )
            rest = iter([place for place in order if place not in sources])
            return [sources[targets.index(place)] if place in targets else next(rest) for place in order]
    return None


def _turned(name: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        return moved(o, c.first.name, turned(name, c) or [])

    return write


def _stretched(o: OnnxBuilder, c: Call) -> str:
    return stretched(o, c.first.name, c.result.dims)


def _axis(c: Call, name: str = "dim") -> int:
    return int(c[name] % max(c.first.rank, 1))


def _select(o: OnnxBuilder, c: Call) -> str:
    return o.node("Gather", [c.first.name, operand(o, c["index"], "int64")], axis=_axis(c))


def _slice(o: OnnxBuilder, c: Call) -> str:
    start, end = c["start"], c["end"]
    if start in (None, 0) and end in (None, LAST) and c["step"] == 1:
        return c.first.name
    return sliced(o, c.first.name, _axis(c), start or 0, LAST if end is None else end, c["step"])


def _narrow(o: OnnxBuilder, c: Call) -> str:
    axis = _axis(c)
    start, length = static([c["start"], c["length"]])
    start = start % static([c.first.dims[axis]])[0] if start < 0 else start
    return sliced(o, c.first.name, axis, start, start + length)


def _split(o: OnnxBuilder, c: Call) -> list[str]:
    axis = _axis(c)
    sizes = static([result.dims[axis] for result in c.results])
    return o.nodes("Split", [c.first.name, o.constant(sizes, "int64")], len(sizes), axis=axis)


def _unbind(o: OnnxBuilder, c: Call) -> list[str]:
    places = range(*static([c.first.dims[_axis(c)]]))
    return [o.node("Gather", [c.first.name, o.number(at, "int64")], axis=_axis(c)) for at in places]


def _unfold(o: OnnxBuilder, c: Call) -> str:
    axis, step = _axis(c, "dimension"), c["step"]
    windows, size = static((c.result.dims[axis], c.result.dims[-1]))
    taken = step * np.arange(windows)[:, None] + np.arange(size)
    found = o.node("Gather", [c.first.name, o.constant(taken, "int64")], axis=axis)
    order = [place for place in range(c.result.rank) if place != axis + 1]
    return moved(o, found, [*order, axis + 1])


def _diagonal(o: OnnxBuilder, c: Call) -> str:
    rank, offset = c.first.rank, c["offset"]
    both = [c["dim1"] % rank, c["dim2"] % rank]
    rows, columns, length = static([*(c.first.dims[place] for place in both), c.result.dims[-1]])
    rest = [place for place in range(rank) if place not in both]
    flat = o.reshape(moved(o, c.first.name, [*rest, *both]), [*c.result.dims[:-1], rows * columns])
    taken = np.arange(length) * (columns + 1) + (offset if offset > 0 else -offset * columns)
    return o.node("Gather", [flat, o.constant(taken, "int64")], axis=len(rest))


def _cat(o: OnnxBuilder, c: Call) -> str:
    parts = [operand(o, part, c.result.dtype) for part in c["tensors"]]
    return o.node("Concat", parts, axis=c["dim"])


def _stack(o: OnnxBuilder, c: Call) -> str:
    axis = c["dim"] % c.result.rank
    at = o.constant([axis], "int64")
    parts = [o.node("Unsqueeze", [operand(o, part, c.result.dtype), at]) for part in c["tensors"]]
    return o.node("Concat", parts, axis=axis)


def _meshgrid(o: OnnxBuilder, c: Call) -> list[str]:
    found = []
    for place, (part, form) in enumerate(zip(c["tensors"], c.results, strict=True)):
        if c.arguments.get("indexing", "ij") == "xy" and place < 2 <= form.rank:
            place = 1 - place
        dims: list[Dim] = [1] * form.rank
        dims[place] = form.dims[place]
        found.append(stretched(o, o.reshape(part.name, dims), form.dims))
    return found


def _index(o: OnnxBuilder, c: Call) -> str:
    given: Tensor = c.first
    chosen = {place: index for place, index in enumerate(c["indices"]) if index is not None}
    places = list(chosen)
    if len(places) == 1:
        return o.node("Gather", [given.name, operand(o, chosen[places[0]], "int64")], axis=places[0])
    rest = [place for place in range(given.rank) if place not in chosen]
    rank = max(index.rank for index in chosen.values())
    adjacent = places == list(range(places[0], places[-1] + 1))
    start = places[0] if adjacent else 0
    shape = c.result.dims[start : start + rank]
    last = o.constant([-1], "int64")
    columns = [
        o.node("Unsqueeze", [stretched(o, operand(o, index, "int64"), shape), last]) for index in chosen.values()
    ]
    front = moved(o, given.name, [*places, *rest])
    found = o.node("GatherND", [front, o.node("Concat", columns, axis=-1)])
    behind = list(range(rank, rank + len(rest)))
    return moved(o, found, [*behind[:start], *range(rank), *behind[start:]])


def _index_select(o: OnnxBuilder, c: Call) -> str:
    index = c["index"]
    at = index.name if index.rank else o.reshape(index.name, [1])
    return o.node("Gather", [c.first.name, at], axis=_axis(c))


def _gather(o: OnnxBuilder, c: Call) -> str:
    return o.node("GatherElements", [c.first.name, operand(o, c["index"], "int64")], axis=_axis(c))


def _repeat(o: OnnxBuilder, c: Call) -> str:
    times = c.arguments.get("repeats", c.arguments.get("dims"))
    rank = c.result.rank
    value = o.reshape(c.first.name, [*[1] * (rank - c.first.rank), *c.first.dims])
    return o.node("Tile", [value, o.vector([*[1] * (rank - len(times)), *times])])


def _repeat_each(o: OnnxBuilder, c: Call) -> str:
    dims = c.first.dims
    axis = 0 if c["dim"] is None else _axis(c)
    before, behind = (dims[: axis + 1], dims[axis + 1 :]) if c["dim"] is not None else (dims, ())
    apart = o.reshape(c.first.name, [*before, 1, *behind])
    return o.reshape(stretched(o, apart, [*before, c["repeats"], *behind]), c.result.dims)


def _roll(o: OnnxBuilder, c: Call) -> str:
    value, dims = c.first.name, c["dims"]
    if not dims:
        value, dims = o.node("Reshape", [value, o.constant([-1], "int64")]), [0]
    for shift, dim in zip(c["shifts"], dims, strict=True):
        axis = dim % max(c.first.rank, 1)
        extent = c.first.dims[axis]
        shift = shift % extent if c["dims"] and isinstance(extent, int) else shift
        if shift:
            parts = [sliced(o, value, axis, -shift, LAST), sliced(o, value, axis, 0, -shift)]
            value = o.node("Concat", parts, axis=axis)
    return value if c["dims"] else o.reshape(value, c.result.dims)


def _flip(o: OnnxBuilder, c: Call) -> str:
    value = c.first.name
    for dim in c["dims"]:
        value = sliced(o, value, dim % c.first.rank, LAST, -LAST, -1)
    return value


_PADDINGS = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(o: OnnxBuilder, c: Call) -> str:
    value, pad, mode = c.first.name, list(c["pad"]), c.arguments.get("mode", "constant")
    axes = [c.first.rank - 1 - place for place in range(len(pad) // 2)]
    for place, axis in enumerate(axes):  # what is below 0 cuts
        before, behind = (max(0, -each) for each in pad[2 * place : 2 * place + 2])
        if before or behind:
            value = sliced(o, value, axis, before, -behind or LAST)
    around = [max(0, each) for each in (*pad[::2], *pad[1::2])]
    if not any(around):
        return value
    inputs = [value, o.constant(around, "int64"), "", o.constant(axes, "int64")]
    if mode == "constant":
        inputs[2] = operand(o, c["value"] or 0, c.result.dtype)
    return o.node("Pad", inputs, mode=_PADDINGS[mode])


def _apart(o: OnnxBuilder, c: Call, dims: Sequence[Dim], order: Sequence[int]) -> str:
    """More axes, in another order, put together again; `order` counts from behind the first ones."""
    before = list(c.first.dims[: c.result.rank - 3])
    value = o.reshape(c.first.name, [*before, *dims])
    ahead = len(before)
    return o.reshape(moved(o, value, [*range(ahead), *(ahead + place for place in order)]), c.result.dims)


def _pixel_shuffle(o: OnnxBuilder, c: Call) -> str:
    channels, rows, columns = static(c.first.dims[-3:])
    factor = c["upscale_factor"]
    return _apart(o, c, [channels // factor**2, factor, factor, rows, columns], [0, 3, 1, 4, 2])


def _pixel_unshuffle(o: OnnxBuilder, c: Call) -> str:
    channels, rows, columns = static(c.first.dims[-3:])
    factor = c["downscale_factor"]
    return _apart(o, c, [channels, rows // factor, factor, columns // factor, factor], [0, 2, 4, 1, 3])


def _channel_shuffle(o: OnnxBuilder, c: Call) -> str:
    samples, channels, *rest = c.first.dims
    (channels,) = static([channels])
    apart = o.reshape(c.first.name, [samples, c["groups"], channels // c["groups"], *rest])
    order = [0, 2, 1, *range(3, 3 + len(rest))]
    return o.reshape(o.node("Transpose", [apart], perm=order), c.result.dims)


def _windows_as_columns(o: OnnxBuilder, c: Call) -> str:
    if c.first.rank != 4:
        raise ValueError("its input has no samples")
    around = [0, 0, *c["padding"]] * 2
    value = o.node("Pad", [c.first.name, o.constant(around, "int64")])
    counts = []
    for axis in (0, 1):
        kernel, spread, step = c["kernel_size"][axis], c["dilation"][axis], c["stride"][axis]
        (extent,) = static([c.first.dims[2 + axis]])
        count = (extent + 2 * c["padding"][axis] - spread * (kernel - 1) - 1) // step + 1
        counts += [kernel, count]
        taken = spread * np.arange(kernel)[:, None] + step * np.arange(count)
        value = o.node("Gather", [value, o.constant(taken, "int64")], axis=2 + 2 * axis)
    return o.reshape(o.node("Transpose", [value], perm=[0, 1, 2, 4, 3, 5]), c.result.dims)


def _triangle(upper: int) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        return o.node("Trilu", [c.first.name, o.number(c["diagonal"], "int64")], upper=upper)

    return write


RESHAPING = (
    "view", "_unsafe_view", "reshape", "view_as", "reshape_as", "flatten.using_ints", "unflatten.int", "squeeze",
    "squeeze.dim", "squeeze.dims", "unsqueeze",
)  # fmt: skip
"""Operators that change the extents alone."""
TURNING = ("permute", "transpose.int", "swapaxes", "t", "mT", "movedim.int", "movedim.intlist")
"""Operators that change the order of axes alone."""

WRITERS: Mapping[str, Writer] = {
    **dict.fromkeys(RESHAPING, _reshaped),
    **{name: _turned(name) for name in TURNING},
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _stretched),
    "select.int": _select,
    "slice.Tensor": _slice,
    "narrow": _narrow,
    "unfold": _unfold,
    "diagonal": _diagonal,
    **dict.fromkeys(("split.Tensor", "split.sizes", "split_with_sizes", "chunk"), _split),
    "unbind.int": _unbind,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    "meshgrid": _meshgrid,
    "meshgrid.indexing": _meshgrid,
    "index.Tensor": _index,
    "index_select": _index_select,
    "gather": _gather,
    "repeat": _repeat,
    "tile": _repeat,
    "repeat_interleave.self_int": _repeat_each,
    "roll": _roll,
    "flip": _flip,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "im2col": _windows_as_columns,
    "tril": _triangle(0),
    "triu": _triangle(1),
}
