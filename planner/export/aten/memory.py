"""Memory that several names share, in a language that has none: what is written through one is read through all.

A `Cell` is what a name stands for. A view knows how it follows from its base, and how the base follows from what is
written into it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from planner.export.aten.base import LAST, Call, Tensor, moved, sliced, static
from planner.export.aten.reshaping import RESHAPING, TURNING, turned
from planner.export.onnx_builder import Dim, OnnxBuilder

SAME = (
    "alias", "detach", "contiguous", "type_as", "to.dtype", "to.device", "to.dtype_layout", "to.other", "dropout",
    "feature_dropout", "alpha_dropout", "feature_alpha_dropout",
)  # fmt: skip
"""Operators that give back their argument if it is already as wanted."""
_COPYING_AT_NEED = ("reshape", "reshape_as", "flatten.using_ints", "contiguous", "_unsafe_view")
_PARTS = ("split.Tensor", "split.sizes", "split_with_sizes", "chunk")

Read = Callable[[Tensor], Tensor]
"""From the base to the view."""
Put = Callable[[Tensor, Tensor], str]
"""From the base and what is written into the view to the new base."""


@dataclass(eq=False)
class Cell:
    """A tensor in memory."""

    tensor: Tensor | None
    """What it was when last looked at; None: it cannot be had."""
    base: Cell | None = None
    """Whose memory it lies in, if not its own."""
    read: Read | None = None
    put: Put | None = None
    whole: bool = True
    """Whether it lies in one piece in its memory, so that no other order of extents has to copy it."""
    certain: bool = True
    """Whether it is sure to share its base's memory."""
    version: int = 0
    """Of its own memory; of a view, the one that it was read from."""

    @property
    def root(self) -> Cell:
        return self.base.root if self.base else self

    def get(self) -> Tensor:
        """What is in it. Raises ValueError where nobody can tell."""
        if self.base and self.read and self.version != self.root.version:
            self.tensor = self.read(self.base.get())
            self.version = self.root.version
        if self.tensor is None:
            raise ValueError("reads what cannot be written in ONNX")
        return self.tensor

    def set(self, tensor: Tensor) -> None:
        """Write into it. Raises ValueError where the memory cannot be followed."""
        if self.base is None:
            self.version += 1
        elif not self.certain:  # it may have been a copy: from here on it is, and the rest is not known
            self.root.tensor, self.root.version = None, self.root.version + 1
            self.base = self.read = self.put = None
        elif self.put is None:
            raise ValueError("writes through a view of a kind that ONNX cannot follow")
        else:
            base = self.base.get()
            self.base.set(Tensor(base.dims, base.dtype, self.put(base, tensor)))
            self.version = self.root.version
        self.tensor = tensor


def view(o: OnnxBuilder, operator: str, call: Call, base: Cell, place: int, read: Read) -> Cell:
    """The result of an operator, its `place`th, that lies in the memory of its first argument."""
    tensor = read(base.get())
    copies = operator in _COPYING_AT_NEED and not base.whole
    return Cell(
        tensor,
        base,
        read,
        _put(o, operator, call, place),
        whole=copies or (base.whole and operator in RESHAPING),
        certain=not copies,
        version=base.root.version,
    )


def _put(o: OnnxBuilder, operator: str, c: Call, place: int) -> Put | None:
    if operator in RESHAPING or operator == "contiguous":
        return lambda base, new: o.reshape(new.name, base.dims)
    if operator in TURNING:
        order = turned(operator, c) or []
        return lambda base, new: moved(o, new.name, [order.index(axis) for axis in range(len(order))])
    if operator in ("select.int", "unbind.int"):
        axis, index = c["dim"] % c.first.rank, c["index"] if operator == "select.int" else place
        at = o.constant([axis], "int64")
        (index,) = static([index])
        return lambda base, new: _inserted(o, base, o.node("Unsqueeze", [new.name, at]), axis, index, 1)
    if operator in _PARTS:
        axis = c["dim"] % c.first.rank
        sizes = [result.dims[axis] for result in c.results]
        if not all(isinstance(size, int) for size in sizes):
            return None
        start = sum(static(sizes[:place]))
        return lambda base, new: _inserted(o, base, new.name, axis, start, static(sizes)[place])
    if operator == "slice.Tensor" and c["step"] == 1:
        axis, extent = c["dim"] % c.first.rank, c.first.dims[c["dim"]]
        if c.first.dims == c.result.dims:
            return lambda base, new: new.name
        if isinstance(extent, int) and isinstance(c["start"] or 0, int):
            first, last, _ = slice(c["start"], c["end"]).indices(extent)
            return lambda base, new: _inserted(o, base, new.name, axis, first, last - first)
    return None


def _inserted(o: OnnxBuilder, base: Tensor, new: str, axis: int, start: int, length: int) -> str:
    """The base with a part of it exchanged."""
    extent: Dim = base.dims[axis]
    start = start % extent if start < 0 and isinstance(extent, int) else start
    parts = [new]
    if start:
        parts.insert(0, sliced(o, base.name, axis, 0, start))
    if start + length != extent:
        parts.append(sliced(o, base.name, axis, start + length, LAST))
    return parts[0] if len(parts) == 1 else o.node("Concat", parts, axis=axis)
