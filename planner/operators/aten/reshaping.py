"""Other views of the same elements, copies and repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import (
    ATEN_DIMENSIONS,
    AtenOperator,
    Rule,
    Value,
    family,
    show_shape,
)
from planner.operators.aten.shapes import (
    Operand,
    axes,
    axis,
    check_expands,
    check_filled,
    check_rank,
    elements,
    place_of,
    replaced,
    same,
    shape_of,
)
from planner.operators.base import Shape


def _inferred(count: int, size: Sequence[int], name: str = "size") -> Shape:
    """`size` with its -1 worked out, so that there are `count` elements. Raises ValueError."""
    if min(size, default=0) < -1 or list(size).count(-1) > 1:
        raise ValueError(f"{name} is {show_shape(size)}; extents, and at most one -1, are needed")
    if len(size) > ATEN_DIMENSIONS:
        raise ValueError(f"{name} has {len(size)} extents, above {ATEN_DIMENSIONS}")
    known = elements(tuple(extent for extent in size if extent != -1))
    if -1 in size and known and count % known == 0:
        return tuple(count // known if extent == -1 else extent for extent in size)
    if -1 in size or known != count:
        raise ValueError(f"{count} elements do not make {show_shape(size)}")
    return tuple(size)


def _view(self: Value, size: Sequence[int]) -> Value:
    return Value(_inferred(elements(self.shape), size), self.dtype)


def _reshape(self: Value, shape: Sequence[int]) -> Value:
    return _view(self, shape)


def _view_as(self: Value, other: Value) -> Value:
    return _view(self, other.shape)


def _flatten(self: Value, start_dim: int, end_dim: int) -> Value:
    rank = len(self.shape)
    start, end = axis(start_dim, rank, "start_dim"), axis(end_dim, rank, "end_dim")
    if start > end:
        raise ValueError(f"start_dim {start_dim} lies behind end_dim {end_dim}")
    shape = (*self.shape[:start], elements(self.shape[start : end + 1]), *self.shape[end + 1 :])
    return Value(shape, self.dtype)


def _unflatten(self: Value, dim: int, sizes: Sequence[int]) -> Value:
    place = axis(dim, len(self.shape))
    if not sizes or not self.shape:
        raise ValueError("a dimension and its sizes are needed")
    return Value(replaced(self.shape, place, *_inferred(self.shape[place], sizes, "sizes")), self.dtype)


def _permute(self: Value, dims: Sequence[int]) -> Value:
    places = axes(dims, len(self.shape), "dims")
    if len(places) != len(self.shape):
        raise ValueError(f"dims has {len(places)} numbers; the tensor has {len(self.shape)} dimensions")
    return Value(tuple(self.shape[place] for place in places), self.dtype)


def _swap(self: Value, one: int, other: int) -> Value:
    first, second = axis(one, len(self.shape)), axis(other, len(self.shape))
    if not self.shape:
        return self
    shape = list(self.shape)
    shape[first], shape[second] = shape[second], shape[first]
    return Value(tuple(shape), self.dtype)


def _transpose(self: Value, dim0: int, dim1: int) -> Value:
    return _swap(self, dim0, dim1)


def _swapaxes(self: Value, axis0: int, axis1: int) -> Value:
    return _swap(self, axis0, axis1)


def _t(self: Value) -> Value:
    check_rank(self, (0, 1, 2))
    return Value(self.shape[::-1], self.dtype)


def _last_two(self: Value) -> Value:
    if len(self.shape) < 2:
        raise ValueError("self has no two dimensions to exchange")
    return _swap(self, -1, -2)


def _move(self: Value, source: Sequence[int] | int, destination: Sequence[int] | int) -> Value:
    rank = len(self.shape)
    sources = axes([source] if isinstance(source, int) else source, rank, "source")
    targets = axes([destination] if isinstance(destination, int) else destination, rank, "destination")
    if len(sources) != len(targets):
        raise ValueError(f"source has {len(sources)} numbers, destination {len(targets)}")
    if not rank:
        return self
    rest = iter([place for place in range(rank) if place not in sources])
    order = [sources[targets.index(place)] if place in targets else next(rest) for place in range(rank)]
    return Value(tuple(self.shape[place] for place in order), self.dtype)


def _squeeze(self: Value, dim: Sequence[int] | int | None = None) -> Value:
    rank = len(self.shape)
    wanted = range(rank) if dim is None else axes([dim] if isinstance(dim, int) else dim, rank)
    shape = tuple(extent for place, extent in enumerate(self.shape) if extent != 1 or place not in wanted)
    return Value(shape, self.dtype)


def _unsqueeze(self: Value, dim: int) -> Value:
    place = axis(dim, len(self.shape) + 1)
    return Value((*self.shape[:place], 1, *self.shape[place:]), self.dtype)


def _expand(self: Value, size: Sequence[int], **_: Any) -> Value:
    new = len(size) - len(self.shape)
    if new < 0 or min(size[:new], default=0) < 0 or min(size, default=0) < -1:
        raise ValueError(f"{show_shape(self.shape)} does not stretch to {show_shape(size)}")
    kept = zip(size[new:], self.shape, strict=True)
    target = (*size[:new], *(extent if wanted == -1 else wanted for wanted, extent in kept))
    check_expands(self.shape, target, "self")
    return Value(target, self.dtype)


def _expand_as(self: Value, other: Value) -> Value:
    return _expand(self, other.shape)


def _repeat(self: Value, repeats: Sequence[int]) -> Value:
    new = len(repeats) - len(self.shape)
    if new < 0:
        raise ValueError(f"repeats has {len(repeats)} numbers; the tensor has {len(self.shape)} dimensions")
    if min(repeats, default=0) < 0:
        raise ValueError(f"repeats is {show_shape(repeats)}; none may be below 0")
    shape = (1,) * new + self.shape
    return Value(tuple(extent * times for extent, times in zip(shape, repeats, strict=True)), self.dtype)


def _tile(self: Value, dims: Sequence[int]) -> Value:
    return _repeat(self, [1] * (len(self.shape) - len(dims)) + list(dims))


def _repeat_each(self: Value, repeats: int, dim: int | None, output_size: int | None) -> Value:
    shape = (elements(self.shape),) if dim is None else self.shape
    place = 0 if dim is None else place_of(self, dim)
    if repeats < 0:
        raise ValueError(f"repeats is {repeats}; it may not be below 0")
    if output_size not in (None, shape[place] * repeats):
        raise ValueError(f"output_size is {output_size}, not {shape[place] * repeats}")
    return Value(replaced(shape, place, shape[place] * repeats), self.dtype)


def _roll(self: Value, shifts: Sequence[int], dims: Sequence[int]) -> Value:
    if len(shifts) != (len(dims) or 1):
        raise ValueError(f"shifts has {len(shifts)} numbers, dims {len(dims)}")
    for dim in dims:
        if 0 not in self.shape:
            place_of(self, dim)
    return self


def _flip(self: Value, dims: Sequence[int]) -> Value:
    axes(dims, len(self.shape), "dims")
    return self


def _shuffle(self: Value, upscale_factor: int) -> Value:
    if len(self.shape) < 3 or upscale_factor < 1 or self.shape[-3] % upscale_factor**2:
        raise ValueError(f"{show_shape(self.shape)} has no channels for an upscale_factor of {upscale_factor}")
    *rest, channels, rows, columns = self.shape
    shape = (*rest, channels // upscale_factor**2, rows * upscale_factor, columns * upscale_factor)
    return Value(shape, self.dtype)


def _unshuffle(self: Value, downscale_factor: int) -> Value:
    factor = downscale_factor
    if len(self.shape) < 3 or factor < 1 or self.shape[-1] % factor or self.shape[-2] % factor:
        raise ValueError(f"{show_shape(self.shape)} does not fit a downscale_factor of {factor}")
    check_filled(self)
    *rest, channels, rows, columns = self.shape
    return Value((*rest, channels * factor**2, rows // factor, columns // factor), self.dtype)


def _channel_shuffle(self: Value, groups: int) -> Value:
    if len(self.shape) < 3 or groups < 1 or self.shape[1] % groups:
        raise ValueError(f"{show_shape(self.shape)} has no channels for {groups} groups")
    check_filled(self)
    return self


def _copy(self: Value, src: Operand, non_blocking: bool) -> Value:
    check_expands(shape_of(src), self.shape, "src")
    return self


_VIEW = "Tensor(a) self"
_PARTS = "Tensor(a -> *) self"

_TABLE: tuple[tuple[str, Rule], ...] = (
    (f"view({_VIEW}, SymInt[] size) -> Tensor(a)", _view),
    (f"reshape({_VIEW}, SymInt[] shape) -> Tensor(a)", _reshape),
    (f"view_as({_VIEW}, Tensor other) -> Tensor(a)", _view_as),
    (f"reshape_as({_VIEW}, Tensor other) -> Tensor(a)", _view_as),
    (f"flatten.using_ints({_VIEW}, int start_dim=0, int end_dim=-1) -> Tensor(a)", _flatten),
    (f"unflatten.int({_VIEW}, int dim, SymInt[] sizes) -> Tensor(a)", _unflatten),
    (f"permute({_VIEW}, int[] dims) -> Tensor(a)", _permute),
    (f"transpose.int({_VIEW}, int dim0, int dim1) -> Tensor(a)", _transpose),
    (f"swapaxes({_VIEW}, int axis0, int axis1) -> Tensor(a)", _swapaxes),
    (f"t({_VIEW}) -> Tensor(a)", _t),
    (f"mT({_VIEW}) -> Tensor(a)", _last_two),
    (f"movedim.int({_VIEW}, int source, int destination) -> Tensor(a)", _move),
    (f"movedim.intlist({_VIEW}, int[] source, int[] destination) -> Tensor(a)", _move),
    (f"squeeze({_VIEW}) -> Tensor(a)", _squeeze),
    (f"squeeze.dim({_VIEW}, int dim) -> Tensor(a)", _squeeze),
    (f"squeeze.dims({_VIEW}, int[] dim) -> Tensor(a)", _squeeze),
    (f"unsqueeze({_VIEW}, int dim) -> Tensor(a)", _unsqueeze),
    (f"expand({_VIEW}, SymInt[] size, *, bool implicit=False) -> Tensor(a)", _expand),
    (f"expand_as({_VIEW}, Tensor other) -> Tensor(a)", _expand_as),
    (f"broadcast_to({_VIEW}, SymInt[] size) -> Tensor(a)", _expand),
    (f"alias({_VIEW}) -> Tensor(a)", same()),
    (f"detach({_VIEW}) -> Tensor(a)", same()),
    ("detach_(Tensor(a!) self) -> Tensor(a!)", same()),
    (f"contiguous({_VIEW}, *, MemoryFormat memory_format=0) -> Tensor(a)", same()),
    ("clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor", same()),
    ("repeat(Tensor self, SymInt[] repeats) -> Tensor", _repeat),
    ("tile(Tensor self, SymInt[] dims) -> Tensor", _tile),
    (
        "repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, SymInt? output_size=None) -> Tensor",
        _repeat_each,
    ),
    ("roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor", _roll),
    ("flip(Tensor self, int[] dims) -> Tensor", _flip),
    ("pixel_shuffle(Tensor self, int upscale_factor) -> Tensor", _shuffle),
    ("pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor", _unshuffle),
    ("channel_shuffle(Tensor self, SymInt groups) -> Tensor", _channel_shuffle),
)

OPERATORS = family(
    *(AtenOperator(signature, rule) for signature, rule in _TABLE),
    AtenOperator("_unsafe_view(Tensor self, SymInt[] size) -> Tensor", _view, alias="self"),
    AtenOperator(
        "copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)", _copy, takes_numbers=True
    ),
)
