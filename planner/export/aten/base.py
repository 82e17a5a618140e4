"""What the writer of an operator is given, and what many of them ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from planner.export.onnx_builder import Dim, OnnxBuilder
from planner.operators.aten.base import Value
from planner.operators.aten.shapes import common_dtype
from planner.operators.base import Shape
from planner.operators.graph_text import Batch

SAMPLES: Final = (3, 5)
"""How many samples a graph is walked with. What is 3·k with the first and 5·k with the second is k times the batch."""


@dataclass(frozen=True, slots=True)
class Form:
    """Extents and type of a tensor."""

    dims: tuple[Dim, ...]
    dtype: str

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def value(self) -> Value:
        """As the shape rules know it, with the first number of samples."""
        return Value(tuple(d.times * SAMPLES[0] if isinstance(d, Batch) else d for d in self.dims), self.dtype)


@dataclass(frozen=True, slots=True)
class Tensor(Form):
    """A value of the graph under construction."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operator with its arguments."""

    arguments: Mapping[str, Any]
    """All of them by ATen's names: tensors, numbers, `Batch`es, text, lists."""
    results: tuple[Form, ...]
    """What it gives."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def first(self) -> Tensor:
        """Its first argument, a tensor."""
        return next(iter(self.arguments.values()))  # type: ignore[no-any-return]  # the first is a value

    @property
    def result(self) -> Form:
        """Its only result, or the first."""
        return self.results[0]


Writer = Callable[[OnnxBuilder, Call], str | Sequence[str | None]]
"""Writes an operator; the names of its results, None for one that cannot be had. Raises ValueError for arguments that
ONNX has nothing for."""


def static(dims: Sequence[Dim]) -> Shape:
    """Extents that do not depend on the number of samples. Raises ValueError."""
    found = [extent for extent in dims if isinstance(extent, int)]
    if len(found) != len(dims):
        raise ValueError("it works along the samples")
    return tuple(found)


def operand(o: OnnxBuilder, value: Tensor | Batch | float, dtype: str) -> str:
    """A tensor or a number in a type."""
    match value:
        case Tensor():
            return value.name if value.dtype == dtype else o.cast(value.name, dtype)
        case Batch():
            return o.cast(o.reshape(o.vector([value]), []), dtype)
    return o.number(value, dtype)


def common(*values: Tensor | Batch | float) -> str:
    """The type that PyTorch brings them to."""
    return common_dtype(*(v.value if isinstance(v, Tensor) else v.times if isinstance(v, Batch) else v for v in values))


def axes_of(dims: Sequence[int] | int | None, rank: int) -> list[int]:
    """Counted from the front; none are all."""
    if dims is None or dims == []:
        return list(range(rank))
    return [dim % max(rank, 1) for dim in ([dims] if isinstance(dims, int) else dims)]


def per_axis(values: Sequence[int], spatial: int) -> list[int]:
    """One number for each axis of a window; a single one holds for all."""
    return list(values) if len(values) == spatial else [values[0]] * spatial


def sliced(o: OnnxBuilder, value: str, axis: int, start: Dim, end: Dim, step: int = 1) -> str:
    """A part of the value along an axis."""
    bounds = [o.vector([start]), o.vector([end]), o.constant([axis], "int64")]
    return o.node("Slice", [value, *bounds, o.constant([step], "int64")])


def moved(o: OnnxBuilder, value: str, order: Sequence[int]) -> str:
    """The value with its axes in another order."""
    return value if list(order) == list(range(len(order))) else o.node("Transpose", [value], perm=list(order))


def stretched(o: OnnxBuilder, value: str, dims: Sequence[Dim]) -> str:
    """The value broadcast to extents."""
    return o.node("Expand", [value, o.vector(dims)])


def filled(o: OnnxBuilder, form: Form, value: Any) -> str:
    """A tensor of one number."""
    return stretched(o, operand(o, value, form.dtype), form.dims)


LAST: Final = 2**63 - 1
"""Beyond the end of any axis."""
