"""Samples and labels that lie in files as equal records: read by position, with no seek state, none of it kept."""

from __future__ import annotations

import os
import stat
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Protocol, cast

from planner import limits
from planner.data.array_form import ArrayForm, NumberType
from planner.data.split import check_index
from planner.errors import DataError
from planner.schema.inputs import MOST_TOKEN, InputDtype, sample_bytes, show_input
from planner.tasks.base import CLASS_BYTES, Label, class_label
from planner.units import MIB

SCAN_BYTES = MIB // 4
"""Labels are checked in pieces of this size; a larger one is no faster."""

_TYPECODES = {1: "b", 2: "h", 4: "i", 8: "q"}


class RecordFile:
    """A regular file open for reading at any position from any thread."""

    def __init__(self, path: Path, resources: ExitStack, name: str | None = None) -> None:
        """Open `path` and have `resources` close it. Raises DataError where it cannot be opened or is no file.

        `name` is what errors call it, where that is not its path.
        """
        self.path = path
        self.name = name or str(path)
        self._descriptor = -1
        try:
            # Without O_NONBLOCK a named pipe would wait here for a writer for ever.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise DataError(self.name, f"cannot be opened ({error.strerror})") from None
        resources.callback(self.close)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(self.name, "is not a regular file")
        self.size = status.st_size
        if self.size == 0:
            raise DataError(self.name, "is empty")

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`; raises DataError at the end of the file or on a failing disk."""
        buffer = bytearray(count)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, target: memoryview, record: int | None = None) -> None:
        """Fill `target` from `offset`; `record` is what a DataError then names."""
        if self._descriptor < 0:
            raise ValueError(f"{self.name} is closed")
        done = 0
        while done < len(target):
            try:
                count = os.preadv(self._descriptor, [target[done:]], offset + done)
            except OSError as error:
                raise DataError(self.name, f"cannot be read ({error.strerror})", record) from None
            if count == 0:
                raise DataError(self.name, f"ends at byte {offset + done}, in the middle of what is needed", record)
            done += count

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_BYTES = NumberType("u", 1, big_endian=False)


@dataclass(frozen=True)
class SampleArray:
    """Samples of numbers, images for instance, one a record."""

    file: RecordFile
    """Where they lie."""
    offset: int
    """Byte of the first sample."""
    stride: int
    """Bytes from one sample to the next."""
    count: int
    """How many there are."""
    shape: tuple[int, ...]
    """Of one: channels, height and width of an image."""
    channels_last: bool = False
    """Stored as height × width × channels; otherwise channels × height × width."""
    dtype: InputDtype = "uint8"
    """What they are given as."""
    number: NumberType = _BYTES
    """How they are stored."""
    tokens: int = 0
    """How many tokens the model tells apart; 0: it is not known."""

    @staticmethod
    def of(form: ArrayForm, file: RecordFile, offset: int, count: int, tokens: int) -> SampleArray:
        """The samples of an array in `file` whose first number lies at `offset`."""
        stride = form.number.item_bytes * prod(form.shape)
        return SampleArray(file, offset, stride, count, form.shape, form.channels_last, form.dtype, form.number, tokens)

    @property
    def record_bytes(self) -> int:
        return sample_bytes(self.dtype, self.shape)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        if self.dtype == "float32" and self.number == _BYTES:
            return ("the model takes float32: 8-bit values are given as they are, from 0 to 255",)
        return ()

    def read_into(self, index: int, sample: memoryview) -> None:
        """Fill `sample` with record `index`, channels first. Raises DataError for numbers that none may have."""
        position = self.offset + index * self.stride
        channels = self.shape[0] if self.channels_last else 1
        if channels == 1 and self.dtype == "uint8":
            self.file.read_into(position, sample, index)
            return
        stored = bytearray(self.number.item_bytes * prod(self.shape))
        self.file.read_into(position, memoryview(stored), index)
        values = stored if self.dtype == "uint8" else self._numbers(stored, index)
        plane = len(sample) // channels
        for channel in range(channels):
            sample[channel * plane : (channel + 1) * plane] = memoryview(values[channel::channels]).cast("B")

    def _numbers(self, stored: bytearray, index: int) -> array[float] | array[int]:
        """Numbers of a record as float32, or tokens as 32 bits."""
        values = decode_numbers(self.number, stored)
        if self.dtype == "float32":
            found = array("f", values)
            if not isfinite(sum(found)):
                raise DataError(self.file.name, "holds NaN, infinity, or a number beyond float32", index)
            return found
        limit = self.tokens or MOST_TOKEN + 1
        least, most = min(values), max(values)
        if least < 0 or most >= limit:
            wrong = least if least < 0 else most
            raise DataError(self.file.name, f"holds the token {wrong}; the model knows 0 to {limit - 1}", index)
        return array("i", cast("array[int]", values))


def decode_numbers(number: NumberType, stored: bytes | bytearray) -> array[float] | array[int]:
    """Numbers that are stored so."""
    if (number.kind, number.item_bytes) == ("f", 2):
        order = ">" if number.big_endian else "<"
        return array("f", struct.unpack(f"{order}{len(stored) // 2}e", stored))
    code = {"f": {4: "f", 8: "d"}.get(number.item_bytes, "f"), "b": "B"}.get(number.kind)
    if code is None:
        code = _TYPECODES[number.item_bytes]
        code = code if number.kind == "i" else code.upper()
    values: array[float] | array[int] = array(code, bytes(stored))
    if number.big_endian != (sys.byteorder == "big"):
        values.byteswap()
    return values


@dataclass(frozen=True)
class Labels:
    """Integer labels, one a record. Wider than one byte they lie next to each other."""

    file: RecordFile
    """Where they lie."""
    offset: int
    """Byte of the first label."""
    stride: int
    """Bytes from one label to the next."""
    count: int
    """How many there are."""
    item_bytes: int = 1
    """Bytes of one label: 1, 2, 4 or 8."""
    signed: bool = False
    """Whether a label may be stored as a negative number."""
    big_endian: bool = False
    """Most significant byte first."""

    def at(self, index: int) -> int:
        """Return label `index`."""
        item = bytearray(self.item_bytes)
        self.file.read_into(self.offset + index * self.stride, memoryview(item), index)
        return int.from_bytes(item, "big" if self.big_endian else "little", signed=self.signed)

    @property
    def label_bytes(self) -> int:
        """Bytes of a label as it is stored for training."""
        return CLASS_BYTES

    def stored(self, index: int) -> Label:
        """Label `index` as it is stored for training."""
        return class_label(self.at(index))

    def pieces(self) -> Iterator[bytes]:
        """Nothing: they are classes."""
        return iter(())

    def highest(self, classes: int = limits.MAX_CLASSES) -> int:
        """Read all labels once and return the highest; raises DataError naming the first outside 0 … classes - 1."""
        highest = 0
        for first, values in self._chunks():
            if min(values) < 0 or max(values) >= classes:
                record, label = next((i, v) for i, v in enumerate(values, first) if not 0 <= v < classes)
                raise DataError(self.file.name, f"the label {label} is not in 0 … {classes - 1}", record)
            highest = max(highest, max(values))
        return highest

    def __iter__(self) -> Iterator[int]:
        for _, values in self._chunks():
            yield from values

    @property
    def _typecode(self) -> str:
        code = _TYPECODES[self.item_bytes]
        return code if self.signed else code.upper()

    def _chunks(self) -> Iterator[tuple[int, Sequence[int]]]:
        each = max(1, SCAN_BYTES // self.stride)
        for first in range(0, self.count, each):
            count = min(each, self.count - first)
            # The last record is read only up to its label's end: an image behind it is not the label's business.
            stored = self.file.read(self.offset + first * self.stride, (count - 1) * self.stride + self.item_bytes)
            if self.item_bytes == 1:
                stored = stored[:: self.stride]
            values = array(self._typecode, stored)
            if self.big_endian != (sys.byteorder == "big"):
                values.byteswap()
            yield first, values


class SampleLabels(Protocol):
    """What the samples of an array are labelled with: `Labels`, or what `planner.data.array_labels` has."""

    @property
    def file(self) -> RecordFile:
        """Where they lie."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def label_bytes(self) -> int:
        """Bytes of a label as it is stored for training."""

    def stored(self, index: int) -> Label:
        """Label `index` as it is stored for training."""

    def __iter__(self) -> Iterator[int]:
        """The class of each; 0 where they are no classes."""

    def pieces(self) -> Iterator[bytes]:
        """All of them where they are no classes."""


class ArraySplit:
    """A part of a data set in one or several files of records, one after another."""

    def __init__(self, parts: Sequence[tuple[SampleArray, SampleLabels]]) -> None:
        """`parts` have images of one shape, and as many labels as images."""
        self._parts = tuple(parts)
        self._starts: list[int] = []
        self.samples = 0
        for images, _ in self._parts:
            self._starts.append(self.samples)
            self.samples += images.count
        self.record_bytes = self._parts[0][0].record_bytes

    @property
    def label_bytes(self) -> int:
        """Bytes of a label."""
        return self._parts[0][1].label_bytes

    def read_into(self, index: int, image: memoryview) -> Label:
        check_index(index, self.samples)
        if image.nbytes != self.record_bytes:
            raise ValueError(f"{image.nbytes} bytes given for an image of {self.record_bytes}")
        part = bisect_right(self._starts, index) - 1
        images, labels = self._parts[part]
        local = index - self._starts[part]
        images.read_into(local, image)
        return labels.stored(local)

    def labels(self) -> Iterator[int]:
        """The class of every sample in order; 0 where labels are no classes."""
        for _, labels in self._parts:
            yield from labels

    def label_pieces(self) -> Iterator[bytes]:
        """All labels that are no classes."""
        for _, labels in self._parts:
            yield from labels.pieces()

    def stored(self, index: int) -> bytes:
        """A sample's image."""
        image = bytearray(self.record_bytes)
        self.read_into(index, memoryview(image))
        return bytes(image)

    def close(self) -> None:
        for images, labels in self._parts:
            images.file.close()
            labels.file.close()


def check_counts(images: SampleArray, labels: SampleLabels) -> None:
    """Raise DataError unless there is one label for each image."""
    if images.count != labels.count:
        raise DataError(labels.file.name, f"holds {labels.count} labels for {images.count} images")


def check_same_form(train: SampleArray, other: SampleArray) -> None:
    """Raise DataError unless both parts have samples of one shape and type."""
    if (train.shape, train.dtype) != (other.shape, other.dtype):
        given, right = (show_input(each.shape, each.dtype) for each in (other, train))
        order = " (channels, height, width)" if len(train.shape) == 3 else ""
        raise DataError(other.file.name, f"its samples are {given}{order}; the training part has {right}")
