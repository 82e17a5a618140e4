"""What the reader of an operator is given, and what many of them ask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from planner.model.importers.onnx.document import OnnxNode, OnnxTensor
from planner.model.importers.onnx.emitter import Emitter, Start
from planner.model.importers.onnx.names import names_for
from planner.model.importers.onnx.values import (
    MAX_KNOWN,
    Dim,
    Known,
    Stored,
    Tensor,
    Value,
    array_of,
    merged,
)
from planner.model.importers.onnx.values import static as static
from planner.operators.graph_text import Batch

Operand = Tensor | int | float | bool
"""A tensor, or a number in its place."""

BIAS: Final[Start] = ("constant", 0.0)
ONE: Final[Start] = ("constant", 1.0)


class Call:
    """A node with what it is given. What is called writes an operator of ATen: `c("relu", x)`."""

    def __init__(
        self,
        emitter: Emitter,
        node: OnnxNode,
        opset: int,
        inputs: Sequence[Value | None],
        readers: Sequence[int],
        fixed_batch: int | None,
    ) -> None:
        """`readers` counts who reads each input, `fixed_batch` is the number of samples that the file insists on."""
        self.emitter, self.node, self.opset = emitter, node, opset
        self.inputs = inputs
        self._readers = readers
        self.fixed_batch = fixed_batch

    def __call__(self, operator: str, *positional: Any, **named: Any) -> Tensor:
        return self.emitter.call(operator, *positional, **named)

    def several(self, operator: str, *positional: Any, **named: Any) -> list[Tensor]:
        """An operator with several results."""
        return self.emitter.several(operator, *positional, **named)

    # Attributes

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number. Raises ValueError where it is missing, or something else."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int):
            raise self._wrong(name, value, "a whole number")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, float) or not math.isfinite(value):
            raise self._wrong(name, value, "a number")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self.node.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return value

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, list | tuple) or not all(isinstance(item, int) for item in value):
            raise self._wrong(name, value, "a list of whole numbers")
        return list(value)

    def texts(self, name: str) -> list[str] | None:
        value = self.node.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
            raise self._wrong(name, value, "a list of texts")
        return [item.decode(errors="replace") for item in value]

    def has(self, name: str) -> bool:
        return name in self.node.attributes

    @staticmethod
    def _wrong(name: str, value: Any, wanted: str) -> ValueError:
        shown = "missing" if value is None else repr(value)[:60]
        return ValueError(f"attribute {name} is {shown}; {wanted} is needed")

    # Inputs

    def given(self, place: int) -> bool:
        """Whether an input is not left out."""
        return place < len(self.inputs) and self.inputs[place] is not None

    def value(self, place: int) -> Value:
        """An input. Raises ValueError where it is left out."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            raise ValueError(f"its input {place} is missing")
        return found

    def name(self, place: int) -> str:
        return self.node.inputs[place]

    def read_alone(self, place: int) -> bool:
        """Whether nobody else reads an input."""
        return self._readers[place] == 1

    def known(self, place: int) -> Known:
        """An input that is known. Raises ValueError for one that the network computes."""
        value = self.value(place)
        found = as_known(self.emitter, value, floats=True)
        if found is None:
            raise ValueError(f"its input {place} ({self.name(place)[:60]!r}) has to be a constant")
        return found

    def array(self, place: int) -> np.ndarray:
        """As `known`, and the same for any number of samples."""
        found = self.known(place)
        if not found.is_fixed:
            raise ValueError(f"its input {place} depends on the number of samples")
        return found.arrays[0]

    def wholes(self, place: int) -> list[int]:
        """The whole numbers of a constant."""
        array = self.array(place)
        if array.dtype.kind not in "iu":
            raise ValueError(f"its input {place} is {array.dtype}; whole numbers are needed")
        return [int(number) for number in array.ravel()]

    def extents(self, place: int) -> list[Dim]:
        """Whole numbers, or multiples of the number of samples."""
        one, other = self.known(place).arrays
        if one.dtype.kind not in "iu" or one.shape != other.shape:
            raise ValueError(f"its input {place} is no list of extents")
        return [merged(int(a), int(b)) for a, b in zip(one.ravel(), other.ravel(), strict=True)]

    def tensor(self, place: int = 0) -> Tensor:
        """An input as a tensor; a weight of the file is trained."""
        value = self.value(place)
        shared = not self.read_alone(place)
        match value:
            case Tensor():
                return value
            case Stored():
                return self._stored(value, shared)
        return self.emitter.constant(self._plain_name(place), value, shared)

    def _stored(self, value: Stored, shared: bool) -> Tensor:
        tensor = value.tensor
        trained = value.is_initializer and tensor.dtype == "float32" and tensor.numbers > 1
        # What stands before the first weight makes the input ready: its mean, say.
        if not trained or not self.emitter.has_weights or not self._is_finite(tensor):
            return self.emitter.constant_of(value, shared)
        return self.emitter.parameter(value, None)

    def _is_finite(self, tensor: OnnxTensor) -> bool:
        if tensor.external is not None or tensor.numbers > 2**22:
            return True
        return bool(np.isfinite(array_of(self.emitter.source, tensor)).all())

    def weight(self, place: int, start: Start | None = None) -> Tensor:
        """An input that a layer is made for: trained, whatever it is in the file."""
        value = self.value(place)
        self.emitter.has_weights = True
        if isinstance(value, Stored):
            return self.emitter.parameter(value, start)
        return self.tensor(place)

    def statistic(self, place: int, start: float) -> Tensor:
        """An input that training moves, but not by a gradient."""
        value = self.value(place)
        if isinstance(value, Stored):
            return self.emitter.statistic(value, start)
        raise ValueError(f"its input {place} has to be a tensor of the file")

    def operand(self, place: int) -> Operand:
        """An input as a tensor, or as a number where it is a constant of one."""
        number = self.number(place)
        return self.tensor(place) if number is None else number

    def number(self, place: int) -> int | float | bool | None:
        """An input that is a constant of one number; None: it is something else."""
        found = as_known(self.emitter, self.value(place))
        if found is None or not found.is_fixed or found.arrays[0].size != 1:
            return None
        others = [value.rank for at, value in enumerate(self.inputs) if at != place and isinstance(value, Tensor)]
        if found.arrays[0].ndim > max(others, default=8):  # its dimensions count
            return None
        number = found.arrays[0].ravel()[0].item()
        if not isinstance(number, bool | int | float) or number != number:
            raise ValueError(f"its input {place} is {number!r:.40}; a number is needed")
        return number

    def is_constant(self, place: int) -> bool:
        """Whether an input is none of the weights that a person named, as far as that can be told."""
        value = self.value(place)
        return isinstance(value, Known) or (
            isinstance(value, Stored)
            and not (value.is_initializer and not value.tensor.name.startswith(("onnx::", "/")))
        )

    def own_name(self) -> str:
        """What a tensor that belongs to the node is called."""
        (found,) = names_for([f"constant.{self.node.index}"])
        return found

    def _plain_name(self, place: int) -> str:
        (found,) = names_for([f"constant.{self.name(place)}"])
        return found


def as_known(emitter: Emitter, value: Value, *, floats: bool = False) -> Known | None:
    """A value that is small and known at once; with `floats` also a weight."""
    match value:
        case Known():
            return value
        case Stored(tensor, _, is_initializer):
            if tensor.dtype == "string" or tensor.numbers > MAX_KNOWN:
                return None
            is_weight = is_initializer and tensor.dtype in ("float32", "float16", "bfloat16") and tensor.numbers > 1
            if is_weight and not floats:
                return None
            array = array_of(emitter.source, tensor)
            return Known((array, array))
    return None


Importer = Callable[[Call], Value | Sequence[Value | None]]
"""Says a node in operators of ATen: what it gives. Raises ValueError for what cannot be said."""


def axis_of(axis: int, rank: int) -> int:
    """Counted from the front. Raises ValueError."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis is {axis}; its input has {rank} dimensions")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> list[int]:
    """Each once, counted from the front. Raises ValueError."""
    found = [axis_of(axis, rank) for axis in axes]
    if len(set(found)) != len(found):
        raise ValueError(f"axes {list(axes)} name one twice")
    return found


def check_apart(x: Tensor, axes: Sequence[int], what: str) -> None:
    """Raise ValueError where an axis holds the samples, each of which has to be computed by itself."""
    if any(isinstance(x.dims[axis], Batch) for axis in axes):
        raise ValueError(f"{what} along the samples, of which each has to be computed by itself")
