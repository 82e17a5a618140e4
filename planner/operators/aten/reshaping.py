"""Views, joins, cuts and choices of elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import (
    MAX_RANK,
    MAX_RESULTS,
    AtenOperator,
    Rule,
    StricterThanTorch,
    Value,
    family,
    show_shape,
)
from planner.operators.aten.shapes import (
    Operand,
    axes,
    axis,
    broadcast,
    check_expands,
    check_filled,
    check_gradient,
    check_holds,
    check_rank,
    common_dtype,
    elements,
    per_axis,
    replaced,
    same,
    shape_of,
)
from planner.operators.base import Shape


def _inferred(count: int, size: Sequence[int], name: str = "size") -> Shape:
    """`size` with its -1 worked out, so that there are `count` elements. Raises ValueError."""
    if min(size, default=0) < -1 or list(size).count(-1) > 1:
        raise ValueError(f"{name} is {show_shape(size)}; extents, and at most one -1, are needed")
    if len(size) > MAX_RANK:
        raise ValueError(f"{name} has {len(size)} extents, above {MAX_RANK}")
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
    place = 0 if dim is None else _place(self, dim)
    if repeats < 0:
        raise ValueError(f"repeats is {repeats}; it may not be below 0")
    if output_size not in (None, shape[place] * repeats):
        raise ValueError(f"output_size is {output_size}, not {shape[place] * repeats}")
    return Value(replaced(shape, place, shape[place] * repeats), self.dtype)


def _place(self: Value, dim: int) -> int:
    if not self.shape:
        raise ValueError("self has no dimensions")
    return axis(dim, len(self.shape))


def _select(self: Value, dim: int, index: int) -> Value:
    place = _place(self, dim)
    extent = self.shape[place]
    if not -extent <= index < extent:
        raise ValueError(f"index is {index}; the dimension has {extent}")
    return Value(replaced(self.shape, place), self.dtype)


def _slice(self: Value, dim: int, start: int | None, end: int | None, step: int) -> Value:
    place = _place(self, dim)
    if step < 1:
        raise ValueError(f"step is {step}; it has to be at least 1")
    first, last, _ = slice(start, end).indices(self.shape[place])
    return Value(replaced(self.shape, place, max(0, -((first - last) // step))), self.dtype)


def _narrow(self: Value, dim: int, start: int, length: int) -> Value:
    place = _place(self, dim)
    extent = self.shape[place]
    first = start + extent if start < 0 else start
    if not 0 <= first <= extent or not 0 <= length <= extent - first:
        raise ValueError(f"{length} from {start} on do not lie in {extent}")
    return Value(replaced(self.shape, place, length), self.dtype)


def _index(self: Value, indices: Sequence[Value | None]) -> Value:
    given = [(place, index) for place, index in enumerate(indices) if index is not None]
    if len(indices) > len(self.shape):
        raise ValueError(f"there are {len(indices)} indices; the tensor has {len(self.shape)} dimensions")
    if not given:
        raise StricterThanTorch("no index is given")
    for _, index in given:
        if index.dtype in ("bool", "uint8"):
            raise StricterThanTorch("an index is a mask; how much it chooses depends on its values")
        if index.dtype not in ("int64", "int32"):
            raise ValueError(f"an index is {index.dtype}; int64 is needed")
    places = [place for place, _ in given]
    chosen = broadcast(*(index.shape for _, index in given))
    if any(self.shape[place] == 0 for place in places) and 0 not in chosen:
        raise ValueError("an index points into a dimension without elements")
    rest = [extent for place, extent in enumerate(self.shape) if place not in places]
    start = places[0] if places == list(range(places[0], places[-1] + 1)) else 0
    return Value((*rest[:start], *chosen, *rest[start:]), self.dtype)


def _check_index(index: Value, *dtypes: str) -> None:
    if index.dtype not in dtypes:
        raise ValueError(f"index is {index.dtype}; {' or '.join(dtypes)} is needed")


def _gather(self: Value, dim: int, index: Value, sparse_grad: bool) -> Value:
    place = axis(dim, len(self.shape))
    _check_index(index, "int64", "int32")
    shape, wanted = self.shape or (1,), index.shape or (1,)
    if len(shape) != len(wanted):
        raise ValueError(f"index has {len(index.shape)} dimensions, self {len(self.shape)}")
    if 0 not in wanted:
        if any(at != place and want > have for at, (want, have) in enumerate(zip(wanted, shape, strict=True))):
            raise ValueError(f"index {show_shape(wanted)} reaches beyond self {show_shape(shape)}")
        check_filled(self)
    return Value(index.shape, self.dtype)


def _index_select(self: Value, dim: int, index: Value) -> Value:
    place = axis(dim, len(self.shape))
    _check_index(index, "int64", "int32")
    check_rank(index, (0, 1), "index")
    check_filled(self)
    if not self.shape:
        if elements(index.shape) != 1:
            raise ValueError(f"index has {elements(index.shape)} numbers; self has no dimensions")
        return self
    return Value(replaced(self.shape, place, elements(index.shape)), self.dtype)


def _parts(self: Value, place: int, extents: Sequence[int]) -> tuple[Value, ...]:
    return tuple(Value(replaced(self.shape, place, extent), self.dtype) for extent in extents)


def _check_count(count: int) -> None:
    if count > MAX_RESULTS:
        raise StricterThanTorch(f"it would make {count} tensors, above {MAX_RESULTS}")


def _split(self: Value, split_size: int, dim: int) -> tuple[Value, ...]:
    place = _place(self, dim)
    extent = self.shape[place]
    if split_size < 0 or (split_size == 0 and extent):
        raise ValueError(f"split_size is {split_size}; it has to be at least 1")
    if split_size == 0 or not extent:
        return (self,)
    count = -(-extent // split_size)
    _check_count(count)
    return _parts(self, place, [split_size] * (count - 1) + [extent - split_size * (count - 1)])


def _chunk(self: Value, chunks: int, dim: int) -> tuple[Value, ...]:
    place = _place(self, dim)
    if chunks < 1:
        raise ValueError(f"chunks is {chunks}; it has to be at least 1")
    if not self.shape[place]:
        _check_count(chunks)
        return (self,) * chunks
    return _split(self, -(-self.shape[place] // chunks), dim)


def _split_sizes(self: Value, split_sizes: Sequence[int], dim: int) -> tuple[Value, ...]:
    place = _place(self, dim)
    if min(split_sizes, default=0) < 0 or sum(split_sizes) != self.shape[place]:
        raise ValueError(f"split_sizes do not add up to the dimension's {self.shape[place]}")
    return _parts(self, place, split_sizes)


def _split_size(self: Value, split_size: Sequence[int], dim: int) -> tuple[Value, ...]:
    return _split_sizes(self, split_size, dim)


def _unbind(self: Value, dim: int) -> tuple[Value, ...]:
    place = _place(self, dim)
    _check_count(self.shape[place])
    return (Value(replaced(self.shape, place), self.dtype),) * self.shape[place]


def _cat(tensors: Sequence[Value], dim: int) -> Value:
    dtype = common_dtype(*tensors)
    if not all(tensor.shape for tensor in tensors):
        raise ValueError("a tensor has no dimensions")
    shapes = [tensor.shape for tensor in tensors if tensor.shape != (0,)]  # PyTorch passes over these
    if not shapes:
        if not tensors:
            raise ValueError("no tensors are given")
        if not -1 <= dim < 1:
            raise StricterThanTorch(f"dim is {dim}; the tensors have 1 dimension")
        return Value((0,), dtype)
    place = axis(dim, len(shapes[0]))
    rests = {replaced(shape, place, 0) for shape in shapes if len(shape) == len(shapes[0])}
    if len(rests) > 1 or any(len(shape) != len(shapes[0]) for shape in shapes):
        raise ValueError(f"shapes {' and '.join(map(show_shape, shapes[:4]))} differ beside dimension {dim}")
    return Value(replaced(shapes[0], place, sum(shape[place] for shape in shapes)), dtype)


def _stack(tensors: Sequence[Value], dim: int) -> Value:
    if len({tensor.shape for tensor in tensors}) != 1:
        shapes = [show_shape(tensor.shape) for tensor in tensors[:4]]
        raise ValueError(f"tensors of one shape are needed, not {' and '.join(shapes) or 'none'}")
    shape = tensors[0].shape
    place = axis(dim, len(shape) + 1)
    return Value((*shape[:place], len(tensors), *shape[place:]), common_dtype(*tensors))


def _meshgrid(tensors: Sequence[Value], indexing: str = "ij") -> tuple[Value, ...]:
    if not tensors or any(len(tensor.shape) > 1 for tensor in tensors):
        raise ValueError("tensors with one dimension are needed")
    if len({tensor.dtype for tensor in tensors}) > 1:
        raise ValueError("the tensors are of several types")
    if indexing not in ("ij", "xy"):
        raise ValueError(f"indexing is {indexing[:20]!r}; 'ij' or 'xy' is needed")
    shape = [elements(tensor.shape) for tensor in tensors]
    if indexing == "xy":
        shape[:2] = shape[:2][::-1]
    return (Value(tuple(shape), tensors[0].dtype),) * len(tensors)


def _roll(self: Value, shifts: Sequence[int], dims: Sequence[int]) -> Value:
    if len(shifts) != (len(dims) or 1):
        raise ValueError(f"shifts has {len(shifts)} numbers, dims {len(dims)}")
    for dim in dims:
        if 0 not in self.shape:
            _place(self, dim)
    return self


def _flip(self: Value, dims: Sequence[int]) -> Value:
    axes(dims, len(self.shape), "dims")
    return self


def _pad(self: Value, pad: Sequence[int], mode: str, value: float | None) -> Value:
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(f"mode is {mode[:20]!r}; 'constant', 'reflect', 'replicate' or 'circular' is needed")
    if len(pad) % 2 or len(pad) > 2 * len(self.shape):
        raise ValueError(f"pad has {len(pad)} numbers; 2 for each dimension, from the last on, are needed")
    shape = list(self.shape)
    for place in range(len(pad) // 2):
        shape[-1 - place] += pad[2 * place] + pad[2 * place + 1]
    if mode == "constant":
        check_holds(self.dtype, value or 0, "value")
        cut = (min(pad[at], 0) + min(pad[at + 1], 0) for at in range(0, len(pad), 2))
        if any(extent + less < 0 for extent, less in zip(self.shape[::-1], cut, strict=False)):
            raise ValueError(f"pad {show_shape(pad)} leaves less than nothing of {show_shape(self.shape)}")
        return Value(tuple(shape), self.dtype)
    if value not in (None, 0):
        raise ValueError(f"value goes with mode 'constant', not with {mode!r}")
    return _pad_from_inside(self, pad, mode, shape)


def _pad_from_inside(self: Value, pad: Sequence[int], mode: str, shape: list[int]) -> Value:
    check_filled(self)
    check_gradient(self)
    spatial = len(pad) // 2
    if not 1 <= spatial <= 3:
        raise ValueError(f"pad has {len(pad)} numbers; 2, 4 or 6 are possible with mode {mode!r}")
    check_rank(self, (spatial + 1, spatial + 2))
    for place, extent in enumerate(self.shape[: -spatial - 1 : -1]):
        most = {"reflect": extent - 1, "circular": extent}.get(mode)
        if most is not None and max(pad[2 * place : 2 * place + 2]) > most:
            raise ValueError(f"pad is {show_shape(pad)}; mode {mode!r} takes at most {most} beside {extent}")
    if min(pad) < 0:
        raise StricterThanTorch(f"pad is {show_shape(pad)}; mode {mode!r} is for padding, not for cutting")
    return Value(tuple(shape), self.dtype)


def _constant_pad(self: Value, pad: Sequence[int], value: float) -> Value:
    return _pad(self, pad, "constant", value)


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


def _unfold(self: Value, dimension: int, size: int, step: int) -> Value:
    place = axis(dimension, len(self.shape), "dimension")
    extent = self.shape[place] if self.shape else 1
    if not 0 <= size <= extent or step < 1:
        raise ValueError(f"windows of {size}, {step} apart, do not lie in {extent}")
    if not self.shape:
        return Value((size,), self.dtype)
    return Value((*replaced(self.shape, place, (extent - size) // step + 1), size), self.dtype)


def _columns(
    rows_and_columns: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> tuple[int, int]:
    """Numbers in one window, and windows in an image."""
    for name, values, low in (
        ("kernel_size", kernel_size, 1),
        ("dilation", dilation, 1),
        ("padding", padding, 0),
        ("stride", stride, 1),
    ):
        if len(values) != 2:
            raise ValueError(f"{name} has {len(values)} numbers; 2 are needed")
        per_axis(values, 2, name, low)
    counts = [
        (extent + 2 * pad - (spread * (kernel - 1) + 1)) // step + 1
        for extent, kernel, spread, pad, step in zip(
            rows_and_columns, kernel_size, dilation, padding, stride, strict=True
        )
    ]
    if min(counts) < 1:
        raise ValueError(f"no window fits into {show_shape(rows_and_columns)}")
    return elements(tuple(kernel_size)), elements(tuple(counts))


def _im2col(self: Value, **given: Any) -> Value:
    check_gradient(self)
    check_rank(self, (3, 4))
    check_filled(self)
    *rest, channels, rows, columns = self.shape
    window, windows = _columns((rows, columns), **given)
    return Value((*rest, channels * window, windows), self.dtype)


def _col2im(self: Value, output_size: Sequence[int], **given: Any) -> Value:
    check_gradient(self)
    check_rank(self, (2, 3))
    check_filled(self)
    if len(output_size) != 2 or min(output_size) < 1:
        raise ValueError(f"output_size is {show_shape(output_size)}; 2 numbers above 0 are needed")
    window, windows = _columns(output_size, **given)
    *rest, rows, columns = self.shape
    if rows % window or columns != windows:
        raise ValueError(f"{show_shape(self.shape)} is not {windows} windows of a multiple of {window}")
    return Value((*rest, rows // window, *output_size), self.dtype)


def _triangle(self: Value, diagonal: int) -> Value:
    if len(self.shape) < 2:
        raise ValueError("self has no rows and columns")
    return self


def _diagonal(self: Value, offset: int, dim1: int, dim2: int) -> Value:
    rows, columns = axes((dim1, dim2), len(self.shape))
    length = min(self.shape[rows] + min(offset, 0), self.shape[columns] - max(offset, 0))
    rest = tuple(extent for place, extent in enumerate(self.shape) if place not in (rows, columns))
    return Value((*rest, max(length, 0)), self.dtype)


def _copy(self: Value, src: Operand, non_blocking: bool) -> Value:
    check_expands(shape_of(src), self.shape, "src")
    return self


_VIEW = "Tensor(a) self"
_PARTS = "Tensor(a -> *) self"

_TABLE: tuple[tuple[str, Rule], ...] = (
    (f"view({_VIEW}, SymInt[] size) -> Tensor(a)", _view),
    ("_unsafe_view(Tensor self, SymInt[] size) -> Tensor", _view),
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
    (f"select.int({_VIEW}, int dim, SymInt index) -> Tensor(a)", _select),
    (f"slice.Tensor({_VIEW}, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1) -> Tensor(a)", _slice),
    (f"narrow({_VIEW}, int dim, SymInt start, SymInt length) -> Tensor(a)", _narrow),
    (f"diagonal({_VIEW}, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)", _diagonal),
    (f"unfold({_VIEW}, int dimension, int size, int step) -> Tensor(a)", _unfold),
    (f"split.Tensor({_PARTS}, SymInt split_size, int dim=0) -> Tensor(a)[]", _split),
    (f"split.sizes({_PARTS}, SymInt[] split_size, int dim=0) -> Tensor(a)[]", _split_size),
    (f"split_with_sizes({_PARTS}, SymInt[] split_sizes, int dim=0) -> Tensor(a)[]", _split_sizes),
    (f"chunk({_PARTS}, int chunks, int dim=0) -> Tensor(a)[]", _chunk),
    (f"unbind.int({_PARTS}, int dim=0) -> Tensor(a)[]", _unbind),
    (f"alias({_VIEW}) -> Tensor(a)", same()),
    (f"detach({_VIEW}) -> Tensor(a)", same()),
    ("detach_(Tensor(a!) self) -> Tensor(a!)", same()),
    (f"contiguous({_VIEW}, *, MemoryFormat memory_format=0) -> Tensor(a)", same()),
    ("clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor", same()),
    ("copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)", _copy),
    *((f"{name}(Tensor[] tensors, int dim=0) -> Tensor", _cat) for name in ("cat", "concat", "concatenate")),
    ("stack(Tensor[] tensors, int dim=0) -> Tensor", _stack),
    ("meshgrid(Tensor[] tensors) -> Tensor[]", _meshgrid),
    ("meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]", _meshgrid),
    ("index.Tensor(Tensor self, Tensor?[] indices) -> Tensor", _index),
    ("index_select(Tensor self, int dim, Tensor index) -> Tensor", _index_select),
    ("gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor", _gather),
    ("repeat(Tensor self, SymInt[] repeats) -> Tensor", _repeat),
    ("tile(Tensor self, SymInt[] dims) -> Tensor", _tile),
    (
        "repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, SymInt? output_size=None) -> Tensor",
        _repeat_each,
    ),
    ("roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor", _roll),
    ("flip(Tensor self, int[] dims) -> Tensor", _flip),
    ('pad(Tensor self, SymInt[] pad, str mode="constant", float? value=None) -> Tensor', _pad),
    ("constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor", _constant_pad),
    ("pixel_shuffle(Tensor self, int upscale_factor) -> Tensor", _shuffle),
    ("pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor", _unshuffle),
    ("channel_shuffle(Tensor self, SymInt groups) -> Tensor", _channel_shuffle),
    ("im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor", _im2col),
    (
        "col2im(Tensor self, SymInt[2] output_size, int[2] kernel_size, int[2] dilation, int[2] padding, "
        "int[2] stride) -> Tensor",
        _col2im,
    ),
    ("tril(Tensor self, SymInt diagonal=0) -> Tensor", _triangle),
    ("triu(Tensor self, SymInt diagonal=0) -> Tensor", _triangle),
)

_RETURNED = {"meshgrid": "tensors", "meshgrid.indexing": "tensors", "_unsafe_view": "self"}
"""What may share memory although the signature does not say so."""

OPERATORS = family(
    *(
        AtenOperator(
            signature,
            rule,
            takes_numbers=signature.startswith("copy_"),
            alias=_RETURNED.get(signature.partition("(")[0]),
        )
        for signature, rule in _TABLE
    )
)
