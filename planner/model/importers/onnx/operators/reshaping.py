"""Other extents, other orders of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from planner.model.importers.onnx.operators.base import Call, Importer, axes_of, axis_of, static
from planner.model.importers.onnx.values import Dim, Tensor, merged
from planner.model.importers.steps import SIZES
from planner.operators.graph_text import Batch


def _reshape(c: Call) -> Tensor:
    x, target = c.tensor(), c.extents(1)
    if not c.whole("allowzero", 0):
        if any(extent == 0 and place >= x.rank for place, extent in enumerate(target)):
            raise ValueError(f"{_show(target)} keeps extents that its input does not have")
        target = [x.dims[place] if extent == 0 else extent for place, extent in enumerate(target)]
    is_plain = not any(isinstance(extent, Batch) for extent in target)
    found = None if is_plain and c.fixed_batch else _resolved(x.dims, target)
    if found is None and is_plain:
        found = _generalised(x.dims, target, c.fixed_batch or 1)
    if found is None:
        raise ValueError(f"{_show(x.dims)} cannot become {_show(target)} for every number of samples")
    return c("reshape", x, found) if tuple(found) != x.dims else x


def _show(dims: Sequence[Dim]) -> str:
    shown = ["batch" if d == Batch(1) else f"{d.times}·batch" if isinstance(d, Batch) else str(d) for d in dims]
    return f"[{', '.join(shown)}]"


def _numbers(dims: Sequence[Dim], samples: int) -> list[int]:
    return [d.times * samples if isinstance(d, Batch) else d for d in dims]


def _resolved(dims: Sequence[Dim], target: Sequence[Dim]) -> list[Dim] | None:
    """The extents asked for, with what -1 stands for; None: they hold another number of values."""
    found: list[list[int]] = []
    for samples in SIZES:
        have, wanted = prod(_numbers(dims, samples)), _numbers(target, samples)
        rest = prod(extent for extent in wanted if extent != -1)
        if wanted.count(-1) > 1 or min(wanted, default=1) < -1:
            return None
        if -1 in wanted:
            if not rest or have % rest:
                return None
            wanted[wanted.index(-1)] = have // rest
        if prod(wanted) != have:
            return None
        found.append(wanted)
    try:
        return [merged(*pair) for pair in zip(*found, strict=True)]
    except ValueError:
        return None


def _generalised(dims: Sequence[Dim], target: Sequence[Dim], batch: int) -> list[Dim] | None:
    """What a file asks for that was written for `batch` samples, for any number of them; None: that is not clear.

    Extents of both that hold the same values are held against each other: where the samples come first on one side,
    they come first on the other.
    """
    have, wanted = _numbers(dims, batch), _numbers(target, batch)
    rest = prod(extent for extent in wanted if extent != -1)
    if wanted.count(-1) == 1 and rest and prod(have) % rest == 0:
        wanted[wanted.index(-1)] = prod(have) // rest
    if prod(wanted) != prod(have) or min(wanted, default=1) < 1:
        return None
    found: list[Dim] = []
    one = other = 0
    while one < len(have) or other < len(wanted):
        first, start = one, other
        left, right = (have[one] if one < len(have) else 1), (wanted[other] if other < len(wanted) else 1)
        one, other = min(one + 1, len(have)), min(other + 1, len(wanted))
        while left != right:
            if left < right:
                left, one = left * have[one], one + 1
            else:
                right, other = right * wanted[other], other + 1
        if one == len(have) - 1 and have[one] == 1 and other == len(wanted):
            one += 1
        group: list[Dim] = list(wanted[start:other])
        samples = [place for place in range(first, one) if isinstance(dims[place], Batch)]
        if samples:
            leads = prod(have[first : samples[0]]) == 1
            if len(samples) > 1 or not group or wanted[start] % batch or not (leads or len(group) == 1):
                return None
            group[0] = Batch(wanted[start] // batch)
        found += group
    return found


def _flatten(c: Call) -> Tensor:
    x, axis = c.tensor(), c.whole("axis", 1)
    if not -x.rank <= axis <= x.rank:
        raise ValueError(f"axis is {axis}; its input has {x.rank} dimensions")
    axis = axis + x.rank if axis < 0 else axis
    if axis == 1 and x.rank > 1:
        return c("flatten.using_ints", x, 1) if x.rank > 2 else x
    rows = _resolved(x.dims, [*x.dims[:axis], -1])
    if rows is None:
        raise ValueError("cannot be done for every number of samples")
    before = _resolved(x.dims, [-1, rows[-1]])
    if before is None:
        raise ValueError("cannot be done for every number of samples")
    return c("reshape", x, before)


def _transpose(c: Call) -> Tensor:
    x = c.tensor()
    order = c.ints("perm", list(range(x.rank))[::-1])
    if sorted(order) != list(range(x.rank)):
        raise ValueError(f"perm is {order[:8]}; its input has {x.rank} dimensions")
    if order == list(range(x.rank)):
        return x
    return c("t", x) if order == [1, 0] else c("permute", x, order)


def named_axes(c: Call, rank: int) -> list[int] | None:
    """Axes of an attribute or, from opset 13 on, of an input."""
    if c.given(1):
        return axes_of(c.wholes(1), rank)
    return axes_of(c.ints("axes"), rank) if c.has("axes") else None


def _squeeze(c: Call) -> Tensor:
    x = c.tensor()
    axes = named_axes(c, x.rank)
    if axes is None:
        axes = [axis for axis, extent in enumerate(x.dims) if extent == 1]
    if any(x.dims[axis] != 1 for axis in axes):
        raise ValueError(f"axes {axes} of {_show(x.dims)} are not 1 for every number of samples")
    return c("squeeze.dims", x, axes) if axes else x


def _unsqueeze(c: Call) -> Tensor:
    x = c.tensor()
    count = len(c.wholes(1) if c.given(1) else c.ints("axes"))
    axes = named_axes(c, x.rank + count) or []
    for axis in sorted(axes):
        x = c("unsqueeze", x, axis)
    return x


def _expand(c: Call) -> Tensor:
    x, target = c.tensor(), c.extents(1)
    rank = max(x.rank, len(target))
    dims: list[Dim] = [*[1] * (rank - x.rank), *x.dims]
    wanted: list[Dim] = [*[1] * (rank - len(target)), *target]
    found = [_stretched(c, *pair) for pair in zip(dims, wanted, strict=True)]
    if rank > 1 and dims[0] == 1 and (c.fixed_batch or 1) > 1 and wanted[0] == c.fixed_batch:
        found[0] = Batch(1)  # one for each sample, as a class token
    return x if tuple(found) == x.dims else c("expand", x, found)


def _stretched(c: Call, extent: Dim, wanted: Dim) -> Dim:
    if wanted in (1, extent) or (isinstance(extent, Batch) and wanted == extent.times * (c.fixed_batch or 0)):
        return extent
    return wanted


def _concat(c: Call) -> Tensor:
    parts = [c.tensor(place) for place in range(len(c.inputs))]
    axis = axis_of(c.whole("axis"), parts[0].rank)
    if len(parts) == 1:
        return parts[0]
    # What was written for one sample may lack the samples: a class token, say.
    whole = next((part for part in parts if axis and part.dims[0] == Batch(1)), None)
    for index, part in enumerate(parts):
        if whole is not None and part.rank == whole.rank and part.dims[0] == 1 and c.fixed_batch == 1:
            parts[index] = c("expand", part, [Batch(1), *[-1] * (part.rank - 1)])
    return c("cat", parts, axis)


def _tile(c: Call) -> Tensor:
    x, repeats = c.tensor(), c.extents(1)
    if len(repeats) != x.rank:
        raise ValueError(f"its repeats are {len(repeats)}; its input has {x.rank} dimensions")
    return c("repeat", x, repeats)


def _depth_to_space(c: Call) -> Tensor:
    x, side, mode = c.tensor(), c.whole("blocksize"), c.text("mode", "DCR")
    if x.rank != 4 or side < 1:
        raise ValueError("images and a blocksize from 1 on are needed")
    if mode == "CRD":
        return c("pixel_shuffle", x, side)
    samples, (channels, height, width) = x.dims[0], static(x.dims[1:])
    inner = channels // side**2
    apart = c("reshape", x, [samples, side, side, inner, height, width])
    turned = c("permute", apart, [0, 3, 4, 1, 5, 2])
    return c("reshape", turned, [samples, inner, height * side, width * side])


def _space_to_depth(c: Call) -> Tensor:
    x, side = c.tensor(), c.whole("blocksize")
    if x.rank != 4 or side < 1:
        raise ValueError("images and a blocksize from 1 on are needed")
    samples, (channels, height, width) = x.dims[0], static(x.dims[1:])
    apart = c("reshape", x, [samples, channels, height // side, side, width // side, side])
    turned = c("permute", apart, [0, 3, 5, 1, 2, 4])
    return c("reshape", turned, [samples, channels * side**2, height // side, width // side])


IMPORTERS: Mapping[str, Importer] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Concat": _concat,
    "Tile": _tile,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
