"""Labels in arrays that are no classes: numbers, flags, masks. Converted one sample at a time, without numpy."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from planner import limits
from planner.data.arrays import SCAN_BYTES, RecordFile
from planner.data.mask_pixels import PixelCounter
from planner.data.npy import ArrayHeader, shown
from planner.data.split import check_samples
from planner.errors import DataError
from planner.tasks.base import DataLabels, Label, LabelKind
from planner.tasks.numbers import LARGEST, packed

_CODES = {
    "f2": "e", "f4": "f", "f8": "d", "b1": "B",
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
}  # fmt: skip
"""struct's letter for numpy's kinds of numbers."""

_NUMBER = re.compile(r"[<>|]?(f[248]|[iu][1248]|b1)")
_INTEGER = re.compile(r"([<>|]?)([iu])([1248])")
_EXTENTS: Mapping[LabelKind, tuple[int, ...]] = {"numbers": (1, 2), "flags": (1, 2), "mask": (3,)}
_SHAPES: Mapping[LabelKind, str] = {
    "numbers": "a regression's labels are N, or N×(numbers of a sample)",
    "flags": "labels of which any may hold are N×(labels), of 0 and 1",
    "mask": "masks are N×H×W: the number of a class for every pixel",
}


@dataclass(frozen=True)
class ArrayLabels:
    """One label after another, each of so many numbers."""

    file: RecordFile
    """Where they lie."""
    offset: int
    """Byte of the first."""
    count: int
    """How many there are."""
    extents: tuple[int, ...]
    """Of a label; of a single number none."""
    numpy_type: str
    """Numpy's name of their numbers' type, byte order first: `<f4`."""
    kind: LabelKind
    """What they are."""

    @property
    def label_bytes(self) -> int:
        """Bytes of a label as it is stored for training."""
        return math.prod(self.extents) * (4 if self.kind == "numbers" else 1)

    @property
    def _item_bytes(self) -> int:
        return struct.calcsize(self._format)

    @property
    def _format(self) -> str:
        order = ">" if self.numpy_type.startswith(">") else "<"
        return f"{order}{math.prod(self.extents)}{_CODES[self.numpy_type.lstrip('<>|=')]}"

    def _numbers(self, index: int) -> tuple[Any, ...]:
        stored = bytearray(self._item_bytes)
        self.file.read_into(self.offset + index * len(stored), memoryview(stored), index)
        return struct.unpack(self._format, stored)

    def stored(self, index: int) -> Label:
        """Label `index` as it is stored for training."""
        return self._converted(index, self._numbers(index))

    def _converted(self, index: int, numbers: Sequence[float]) -> Label:
        """Raises DataError naming the sample where a number is none that the kind has."""
        if self.kind == "numbers":
            odd = [number for number in numbers if not math.isfinite(number) or abs(number) > LARGEST]
            right = "numbers that float32 holds are needed"
        elif self.kind == "flags":
            odd, right = [number for number in numbers if number not in (0, 1)], "flags are 0 or 1"
        else:
            odd, right = [number for number in numbers if not 0 <= number <= 255], "masks hold 0 to 255"
        if odd:
            raise DataError(self.file.name, f"the label holds {odd[0]}; {right}", index)
        return packed("f", numbers) if self.kind == "numbers" else bytes(int(number) for number in numbers)

    def found(self, pixels: PixelCounter) -> DataLabels:
        """Read all of them once: what they are; `pixels` counts those of masks, whose classes are all that it has seen.

        Raises DataError naming the first that is wrong.
        """
        for index in range(self.count):
            label = self.stored(index)
            if self.kind == "mask":
                pixels.add(label, f"{self.file.name}, record {index}")
        if self.kind == "mask":
            return DataLabels("mask", pixels.found().classes, self.extents)
        return DataLabels(self.kind, math.prod(self.extents))

    def __iter__(self) -> Iterator[int]:
        return repeat(0, self.count)

    def pieces(self) -> Iterator[bytes]:
        """All of them, as they lie in the file."""
        size = self.count * self._item_bytes
        for at in range(0, size, SCAN_BYTES):
            yield self.file.read(self.offset + at, min(SCAN_BYTES, size - at))


@dataclass(frozen=True)
class NoLabels:
    """In place of labels where there are none."""

    file: RecordFile
    """Where the samples lie."""
    count: int
    """How many samples there are."""
    label_bytes = 0

    def stored(self, index: int) -> Label:
        """Nothing."""
        return b""

    def __iter__(self) -> Iterator[int]:
        return repeat(0, self.count)

    def pieces(self) -> Iterator[bytes]:
        """Nothing."""
        return iter(())


def label_kind(header: ArrayHeader) -> LabelKind:
    """What an array of labels holds, by its shape and the type of its numbers."""
    flat = math.prod(header.shape[1:]) == 1
    if len(header.shape) == 3 and not flat:
        return "mask"
    if "f" in header.descr:
        return "numbers"
    return "class" if flat else "flags"


def label_extents(where: str, header: ArrayHeader, kind: LabelKind) -> tuple[int, ...]:
    """Extents of a label that is no class. Raises DataError where the array cannot hold such."""
    if _NUMBER.fullmatch(header.descr) is None:
        raise DataError(where, f"has elements of type {header.descr[:20]!r}; labels are numbers")
    if len(header.shape) not in _EXTENTS[kind]:
        raise DataError(where, f"has the shape {shown(header.shape)}; {_SHAPES[kind]}")
    check_samples(where, header.shape[0])
    if math.prod(header.shape[1:]) > limits.MAX_ACTIVATION_NUMEL:
        raise DataError(where, f"has the shape {shown(header.shape)}; that is too much for a label")
    return header.shape[1:] if kind == "mask" else (math.prod(header.shape[1:]),)


def label_type(where: str, header: ArrayHeader) -> tuple[int, bool, bool]:
    """Return the bytes of one label, whether it is signed, and whether it is big-endian."""
    match = _INTEGER.fullmatch(header.descr)
    if match is None:
        raise DataError(where, f"has {_no_labels(header.descr)}")
    if len(header.shape) != 1 and header.shape[1:] != (1,):
        rows = "; of one-hot rows save labels.argmax(1), or train with --task multilabel"
        one_hot = rows if len(header.shape) == 2 else ""
        raise DataError(where, f"has the shape {shown(header.shape)}; labels are one integer for each image{one_hot}")
    check_samples(where, header.shape[0])
    return int(match[3]), match[2] == "i", match[1] == ">"


def _no_labels(descr: str) -> str:
    """What elements of a type are that labels cannot have, and what would be right."""
    if "f" in descr:
        return (
            f"fractional numbers of type {descr[:20]!r}; labels are integers: save labels.astype(int), or train with "
            "--task regression"
        )
    if "U" in descr or "S" in descr:
        return (
            f"text of type {descr[:20]!r}; labels are integers: save numpy.unique(labels, return_inverse=True)[1] as "
            "labels, and the unique names as class_names"
        )
    return f"elements of type {descr[:20]!r}; labels are integers"
