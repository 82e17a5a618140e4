"""Prepared data: one flat file that training reads, whatever the data set was. Standard library alone.

    16 bytes   "neuroflux-data/1"
     4 bytes   length of the header, little-endian
     4 bytes   crc32 of the header
    header     JSON: `planner.schema.data.DataDescription`
    records    from the next multiple of 4096 on: training, validation, test part, one behind the other; each record is
               the image (uint8, channels × height × width), its label (`DataDescription.label_bytes`; the number of a
               class is a uint32) and a crc32 of both, little-endian

A label and its checksum lie behind their image, so that a sample is one read, damage is noticed where it is read, and
the file is written from front to back. It is read, not mapped: mapped pages would count in the budget.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.errors import DocumentError, StorageError
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import CHECKSUM_BYTES
from planner.schema.data import DataDescription
from planner.system.files import AtomicFile, free_bytes, storage_errors
from planner.tasks.base import Label
from planner.units import MIB, format_bytes

MAGIC = b"neuroflux-data/1"

_PREFIX = struct.Struct("<16sII")
_ALIGN = 4096
_MOST_HEADER_BYTES = 8 * MIB
_CHUNK_BYTES = MIB
"""What the writer gathers, and a check reads, at a time."""


def stride_of(description: DataDescription) -> int:
    """Bytes of one record."""
    return description.record_bytes + description.label_bytes + CHECKSUM_BYTES


def file_bytes(description: DataDescription) -> int:
    """Length of the file that holds such data."""
    samples = sum(part.samples for part in description.parts)
    return len(_head(description)) + samples * stride_of(description)


def _head(description: DataDescription) -> bytes:
    header = to_json(description, indent=None).encode()
    head = _PREFIX.pack(MAGIC, len(header), zlib.crc32(header)) + header
    return head + bytes(-len(head) % _ALIGN)


class RecordWriter:
    """Appends records to a file that is there whole or not at all."""

    def __init__(self, file: AtomicFile, description: DataDescription) -> None:
        self._file = file
        self._pending = bytearray(_head(description))

    def append(self, image: memoryview, label: Label) -> None:
        """Add the next sample. Raises StorageError."""
        self._pending += image
        self._pending += label
        self._pending += zlib.crc32(label, zlib.crc32(image)).to_bytes(CHECKSUM_BYTES, "little")
        if len(self._pending) >= _CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand on what was gathered. Raises StorageError."""
        self._file.write(self._pending)
        self._pending.clear()


@contextmanager
def write_records(path: Path, description: DataDescription) -> Iterator[RecordWriter]:
    """A writer of such data to `path`, in the order of its parts. Raises StorageError, at once where room lacks."""
    needed, free = file_bytes(description), free_bytes(path.parent)
    if needed > free:
        raise StorageError(
            f"{path}: prepared data takes {format_bytes(needed)}, {format_bytes(free)} are free; make space, or choose "
            "a folder on another device"
        )
    with AtomicFile(path) as file:
        writer = RecordWriter(file, description)
        yield writer
        writer.flush()
        if file.written_bytes != needed:
            raise ValueError(f"{file.written_bytes} bytes were written; the description promises {needed}")


class RecordSplit:
    """Some neighbours of a record file. Safe to read from any thread."""

    def __init__(self, records: Records, first: int, samples: int) -> None:
        self._records = records
        self._first = first
        self.samples = samples
        self.record_bytes = records.description.record_bytes
        self.label_bytes = records.description.label_bytes

    def read_into(self, index: int, image: memoryview) -> Label:
        """Fill `image` with sample `index` and return its label. Raises StorageError where it is damaged."""
        if not 0 <= index < self.samples:
            raise IndexError(f"sample {index} of {self.samples}")
        return self._records.read_into(self._first + index, image)

    def close(self) -> None:
        """Close the file; the other splits of it are closed with it."""
        self._records.close()


class Records:
    """An opened file of prepared data. Close it, or use it in a `with` statement."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError where it cannot be read, or is not whole as far as its length tells."""
        self.path = path
        with storage_errors(path):
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.description, self._start = self._read_head()
            self._stride = stride_of(self.description)
            self._check_length()
        except BaseException:
            self.close()
            raise
        train, validation, test = (part.samples for part in self.description.parts)
        self.train = RecordSplit(self, 0, train)
        """Samples to train on."""
        self.validation = RecordSplit(self, train, validation)
        """Samples to choose an exit by."""
        self.test = RecordSplit(self, train + validation, test)
        """Samples to test on."""
        self.training = RecordSplit(self, 0, self.description.training_samples)
        """All that may be trained on: `train`, and `validation` where that is held out of the training samples."""

    def _read_head(self) -> tuple[DataDescription, int]:
        head = self._read(0, _PREFIX.size)
        magic, length, checksum = _PREFIX.unpack(head) if len(head) == _PREFIX.size else (b"", 0, 0)
        if magic != MAGIC:
            raise StorageError(f"{self.path}: is no file of prepared data of this release")
        header = self._read(_PREFIX.size, length) if length <= _MOST_HEADER_BYTES else b""
        if len(header) != length or zlib.crc32(header) != checksum:
            raise StorageError(f"{self.path}: its header is damaged")
        try:
            description = decode(DataDescription, parse_json(header))
        except DocumentError as error:
            raise StorageError(f"{self.path}: its header cannot be read ({error})") from None
        end = _PREFIX.size + length
        return description, end + -end % _ALIGN

    def _check_length(self) -> None:
        found = os.fstat(self._fd).st_size
        wanted = self._start + sum(part.samples for part in self.description.parts) * self._stride
        if found != wanted:
            raise StorageError(f"{self.path}: has {found} bytes; its header promises {wanted}")

    def _read(self, offset: int, count: int) -> bytes:
        with storage_errors(self.path):
            return os.pread(self._fd, count, offset)

    def read_into(self, record: int, image: memoryview) -> Label:
        """Fill `image` with a record's and return its label. Raises StorageError where it is damaged."""
        if len(image) != self.description.record_bytes:
            raise ValueError(f"{len(image)} bytes given for an image of {self.description.record_bytes}")
        tail = bytearray(self.description.label_bytes + CHECKSUM_BYTES)
        if self._fd < 0:
            raise ValueError(f"{self.path} is closed")
        with storage_errors(self.path):
            count = os.preadv(self._fd, [image, tail], self._start + record * self._stride)
        label, checksum = bytes(tail[:-CHECKSUM_BYTES]), int.from_bytes(tail[-CHECKSUM_BYTES:], "little")
        if count != self._stride or zlib.crc32(label, zlib.crc32(image)) != checksum:
            raise StorageError(
                f"{self.path}, record {record}: is damaged; --resume has the data prepared anew, and goes on"
            )
        return label

    def verify(self) -> None:
        """Read every record. Raises StorageError for the first that is damaged."""
        image = memoryview(bytearray(self.description.record_bytes))
        for record in range(sum(part.samples for part in self.description.parts)):
            self.read_into(record, image)

    def close(self) -> None:
        """Close the file; doing it twice changes nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
