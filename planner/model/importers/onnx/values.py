"""What the values of an ONNX graph are while it is followed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from planner.errors import ModelError
from planner.model.importers.onnx.document import OnnxTensor
from planner.model.importers.onnx.weights import OnnxSource
from planner.model.importers.steps import SIZES, Attribute, Step
from planner.operators.aten.base import Value as Form
from planner.operators.base import Shape
from planner.operators.graph_text import Batch

Dim = int | Batch
"""An extent: a number, or a multiple of the number of samples."""

MAX_KNOWN = 4096
"""Numbers of a value that is worked out here. What is larger is left to the network, or to its weights."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the file: a weight, or a constant."""

    tensor: OnnxTensor
    name: str
    """What it is called in the description."""
    is_initializer: bool
    """Whether it is one; otherwise it is what a node gives."""


@dataclass(frozen=True, slots=True)
class Known:
    """What follows from constants and from the number of samples alone: an array for each of `SIZES`."""

    arrays: tuple[np.ndarray, np.ndarray]

    @property
    def is_fixed(self) -> bool:
        """Whether it does not depend on the number of samples."""
        one, other = self.arrays
        return one is other or (one.shape == other.shape and bool(np.array_equal(one, other)))


@dataclass(frozen=True, slots=True)
class Tensor:
    """What is computed in each pass, or a tensor of the network."""

    source: Step | Attribute
    dims: tuple[Dim, ...]
    dtype: str

    @property
    def rank(self) -> int:
        return len(self.dims)

    def form(self, samples: int) -> Form:
        """Shape and type with so many samples."""
        return Form(tuple(d.times * samples if isinstance(d, Batch) else d for d in self.dims), self.dtype)


Value = Stored | Known | Tensor


def known(array: object, dtype: str | None = None) -> Known:
    """A value that does not depend on the number of samples."""
    found = np.asarray(array, dtype=dtype)
    return Known((found, found))


def merged(one: int, other: int) -> Dim:
    """An extent, from what it is with either number of samples. Raises ValueError."""
    if one == other:
        return one
    times, rest = divmod(one, SIZES[0])
    if rest or times * SIZES[1] != other:
        raise ValueError(f"{one} with {SIZES[0]} samples is {other} with {SIZES[1]}; that is no multiple of both")
    return Batch(times)


def static(dims: tuple[Dim, ...]) -> Shape:
    """Extents that do not depend on the number of samples. Raises ValueError."""
    found = tuple(extent for extent in dims if isinstance(extent, int))
    if len(found) != len(dims):
        raise ValueError("works along the samples, of which each has to be computed by itself")
    return found


def array_of(source: OnnxSource, tensor: OnnxTensor) -> np.ndarray:
    """The numbers of a tensor, those of 16 bits as float32. Raises ModelError."""
    content = b"".join(source.chunks(tensor))
    if tensor.dtype == "bfloat16":
        wide = np.frombuffer(content, "<u2").astype(np.uint32) << 16
        found = wide.view(np.float32)
    elif tensor.dtype in ("string", "complex64", "complex128"):
        raise ModelError(f"{tensor.place}: is of {tensor.dtype}; numbers are needed")
    else:
        found = np.frombuffer(content, np.dtype(tensor.dtype).newbyteorder("<"))
    if found.size != prod(tensor.dims):
        raise ModelError(f"{tensor.place}: holds {found.size} numbers, not {prod(tensor.dims)}")
    return found.astype(found.dtype.newbyteorder("=")).reshape(tensor.dims)
