"""Choices of elements, cuts into parts, and joins."""

from __future__ import annotations

from collections.abc import Sequence

from planner.operators.aten.base import (
    MAX_RESULTS,
    AtenOperator,
    Rule,
    StricterThanTorch,
    Value,
    family,
    show_shape,
)
from planner.operators.aten.shapes import (
    axes,
    axis,
    broadcast,
    check_filled,
    check_rank,
    common_dtype,
    elements,
    place_of,
    replaced,
)


def _select(self: Value, dim: int, index: int) -> Value:
    place = place_of(self, dim)
    extent = self.shape[place]
    if not -extent <= index < extent:
        raise ValueError(f"index is {index}; the dimension has {extent}")
    return Value(replaced(self.shape, place), self.dtype)


def _slice(self: Value, dim: int, start: int | None, end: int | None, step: int) -> Value:
    place = place_of(self, dim)
    if step < 1:
        raise ValueError(f"step is {step}; it has to be at least 1")
    first, last, _ = slice(start, end).indices(self.shape[place])
    return Value(replaced(self.shape, place, max(0, -((first - last) // step))), self.dtype)


def _narrow(self: Value, dim: int, start: int, length: int) -> Value:
    place = place_of(self, dim)
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
    place = place_of(self, dim)
    extent = self.shape[place]
    if split_size < 0 or (split_size == 0 and extent):
        raise ValueError(f"split_size is {split_size}; it has to be at least 1")
    if split_size == 0 or not extent:
        return (self,)
    count = -(-extent // split_size)
    _check_count(count)
    return _parts(self, place, [split_size] * (count - 1) + [extent - split_size * (count - 1)])


def _chunk(self: Value, chunks: int, dim: int) -> tuple[Value, ...]:
    place = place_of(self, dim)
    if chunks < 1:
        raise ValueError(f"chunks is {chunks}; it has to be at least 1")
    if not self.shape[place]:
        _check_count(chunks)
        return (self,) * chunks
    return _split(self, -(-self.shape[place] // chunks), dim)


def _split_sizes(self: Value, split_sizes: Sequence[int], dim: int) -> tuple[Value, ...]:
    place = place_of(self, dim)
    if min(split_sizes, default=0) < 0 or sum(split_sizes) != self.shape[place]:
        raise ValueError(f"split_sizes do not add up to the dimension's {self.shape[place]}")
    return _parts(self, place, split_sizes)


def _split_size(self: Value, split_size: Sequence[int], dim: int) -> tuple[Value, ...]:
    return _split_sizes(self, split_size, dim)


def _unbind(self: Value, dim: int) -> tuple[Value, ...]:
    place = place_of(self, dim)
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


def _triangle(self: Value, diagonal: int) -> Value:
    if len(self.shape) < 2:
        raise ValueError("self has no rows and columns")
    return self


def _diagonal(self: Value, offset: int, dim1: int, dim2: int) -> Value:
    rows, columns = axes((dim1, dim2), len(self.shape))
    length = min(self.shape[rows] + min(offset, 0), self.shape[columns] - max(offset, 0))
    rest = tuple(extent for place, extent in enumerate(self.shape) if place not in (rows, columns))
    return Value((*rest, max(length, 0)), self.dtype)


_VIEW = "Tensor(a) self"
_PARTS = "Tensor(a -> *) self"

_TABLE: tuple[tuple[str, Rule], ...] = (
    (f"select.int({_VIEW}, int dim, SymInt index) -> Tensor(a)", _select),
    (f"slice.Tensor({_VIEW}, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1) -> Tensor(a)", _slice),
    (f"narrow({_VIEW}, int dim, SymInt start, SymInt length) -> Tensor(a)", _narrow),
    (f"diagonal({_VIEW}, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)", _diagonal),
    (f"split.Tensor({_PARTS}, SymInt split_size, int dim=0) -> Tensor(a)[]", _split),
    (f"split.sizes({_PARTS}, SymInt[] split_size, int dim=0) -> Tensor(a)[]", _split_size),
    (f"split_with_sizes({_PARTS}, SymInt[] split_sizes, int dim=0) -> Tensor(a)[]", _split_sizes),
    (f"chunk({_PARTS}, int chunks, int dim=0) -> Tensor(a)[]", _chunk),
    (f"unbind.int({_PARTS}, int dim=0) -> Tensor(a)[]", _unbind),
    *((f"{name}(Tensor[] tensors, int dim=0) -> Tensor", _cat) for name in ("cat", "concat", "concatenate")),
    ("stack(Tensor[] tensors, int dim=0) -> Tensor", _stack),
    ("index.Tensor(Tensor self, Tensor?[] indices) -> Tensor", _index),
    ("index_select(Tensor self, int dim, Tensor index) -> Tensor", _index_select),
    ("gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor", _gather),
    ("tril(Tensor self, SymInt diagonal=0) -> Tensor", _triangle),
    ("triu(Tensor self, SymInt diagonal=0) -> Tensor", _triangle),
)

OPERATORS = family(
    *(AtenOperator(signature, rule) for signature, rule in _TABLE),
    AtenOperator("meshgrid(Tensor[] tensors) -> Tensor[]", _meshgrid, alias="tensors"),
    AtenOperator("meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]", _meshgrid, alias="tensors"),
)
