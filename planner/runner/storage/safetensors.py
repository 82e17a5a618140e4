"""Tensors to and from safetensors files, streamed: no copy of the weights is ever made. No torch here.

The format: 8 bytes little-endian length of a JSON header, the header (`name → {dtype, shape, data_offsets}`), the data.
Files written here carry a checksum of header and data in the header's `__metadata__`, which other readers ignore. The
tests read what this writes with the safetensors library and the other way round.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from planner.errors import PlannerError, StorageError
from planner.limits import MAX_HEADER_BYTES, MAX_TENSORS
from planner.schema.codec import parse_json, to_json
from planner.system.files import AtomicFile

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of a number, by the format's name of its type. Files written here hold F32 and I64."""

CONVERTED = "converted"
"""In the metadata of weights to begin with: how many tensors were made float32."""

_CHECKSUM = "crc32"


@dataclass(frozen=True)
class Entry:
    """One tensor in a file."""

    name: str
    """Its name."""
    dtype: str
    """Its type, as the format names it: `F32` or `I64` in files of ours."""
    shape: tuple[int, ...]
    """Its shape."""

    @property
    def size_bytes(self) -> int:
        """Bytes of its data."""
        return ITEM_BYTES[self.dtype] * prod(self.shape)


def write_tensors(
    path: Path,
    entries: Iterable[Entry],
    data: Callable[[], Iterable[memoryview]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `entries` and their data (contiguous bytes, the same order); the file appears whole or not at all.

    `data` is called twice: the checksum stands before what it is of, and no copy is kept in between.
    """
    entries = list(entries)
    if len(entries) > MAX_TENSORS:
        raise StorageError(f"{path}: {len(entries)} tensors are to be written; at most {MAX_TENSORS} can be read again")
    offset = 0
    header: dict[str, Any] = {"__metadata__": dict(metadata or {})}
    for entry in entries:
        end = offset + entry.size_bytes
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [offset, end]}
        offset = end
    checksum = _header_checksum(header)
    for chunk in data():
        checksum = zlib.crc32(chunk, checksum)
    header["__metadata__"][_CHECKSUM] = f"{checksum:08x}"
    text = to_json(header, indent=None).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise StorageError(f"{path}: its header of {len(text)} bytes is longer than can be read ({MAX_HEADER_BYTES})")
    with AtomicFile(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        written = 0
        for chunk in data():
            file.write(chunk)
            written += chunk.nbytes
        if written != offset:
            raise StorageError(f"{path}: {written} bytes of tensors were given for a header of {offset}")


def _header_checksum(header: Mapping[str, Any]) -> int:
    return zlib.crc32(to_json(header, indent=None).encode())


class TensorFile:
    """An open safetensors file. Raises StorageError when the file is not what its header says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise StorageError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            self._index()
        except BaseException:
            os.close(self._fd)
            raise

    def _index(self) -> None:
        size = os.fstat(self._fd).st_size
        length = int.from_bytes(os.pread(self._fd, 8, 0), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise StorageError(f"{self.path}: not a safetensors file (header of {length} bytes in a file of {size})")
        self._start = 8 + length
        try:
            header = parse_json(os.pread(self._fd, length, 8), MAX_HEADER_BYTES, MAX_TENSORS + 1)  # metadata besides
            self._checksum: str | None = header.get("__metadata__", {}).pop(_CHECKSUM, None)
            self._header_checksum = _header_checksum(header)
            self.metadata: Mapping[str, str] = header.pop("__metadata__", {})
            self._offsets = {name: _checked_offsets(name, item, size - self._start) for name, item in header.items()}
            self.entries = tuple(Entry(name, item["dtype"], tuple(item["shape"])) for name, item in header.items())
        except (PlannerError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{self.path}: broken safetensors header ({error})") from None

    @property
    def checksum(self) -> str | None:
        """What the file says it is; none in files that others wrote."""
        return self._checksum

    def verify(self) -> None:
        """Raise StorageError where the file is not, to the bit, what `write_tensors` once wrote."""
        found = self._header_checksum
        for name in self._offsets:
            for chunk in self.chunks(name):
                found = zlib.crc32(chunk, found)
        if self._checksum != f"{found:08x}":
            raise StorageError(f"{self.path}: its checksum disagrees with its content")

    def content_checksum(self) -> str:
        """Of names, shapes and data alone: equal tensors have equal ones, whatever else the file tells."""
        found = 0
        for entry in self.entries:
            found = zlib.crc32(f"{entry.name} {entry.dtype} {entry.shape}".encode(), found)
            for chunk in self.chunks(entry.name):
                found = zlib.crc32(chunk, found)
        return f"{found:08x}"

    def read_into(self, name: str, target: memoryview) -> None:
        """Fill `target` (bytes of exactly the tensor's size) with the tensor called `name`."""
        if name not in self._offsets:
            raise StorageError(f"{self.path}: holds no tensor called {name!r}")
        begin, end = self._offsets[name]
        if target.nbytes != end - begin:
            raise StorageError(f"{self.path}: {name!r} has {end - begin} bytes, {target.nbytes} are expected")
        done = 0
        while done < target.nbytes:
            count = os.preadv(self._fd, [target[done:]], self._start + begin + done)
            if count == 0:
                raise StorageError(f"{self.path}: ends within {name!r}")
            done += count

    def chunks(self, name: str, chunk_bytes: int = 2**20) -> Iterator[memoryview]:
        """The bytes of one tensor, piece by piece."""
        begin, end = self._offsets[name]
        for at in range(begin, end, chunk_bytes):
            wanted = min(chunk_bytes, end - at)
            chunk = os.pread(self._fd, wanted, self._start + at)
            if len(chunk) != wanted:
                raise StorageError(f"{self.path}: ends within {name!r}")
            yield memoryview(chunk)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def whole_checksum(path: Path) -> str | None:
    """The checksum that a file of `write_tensors` gives. Raises StorageError where it is not what was written."""
    file = TensorFile(path)
    try:
        file.verify()
        return file.checksum
    finally:
        file.close()


def content_checksum(path: Path) -> str:
    """Of a file's tensors alone (`TensorFile.content_checksum`). Raises StorageError."""
    file = TensorFile(path)
    try:
        return file.content_checksum()
    finally:
        file.close()


def merge_tensors(paths: Iterable[Path], target: Path, rename: Callable[[str], str | None]) -> None:
    """Join files into one, a megabyte in memory at a time.

    `rename` says what a tensor is called there; None leaves it out.
    """
    files: list[TensorFile] = []
    try:
        files.extend(TensorFile(path) for path in paths)
        kept = [
            (file, entry, name) for file in files for entry in file.entries if (name := rename(entry.name)) is not None
        ]
        for file in files:
            file.verify()

        def chunks() -> Iterator[memoryview]:
            return (chunk for file, entry, _ in kept for chunk in file.chunks(entry.name))

        write_tensors(target, [replace(entry, name=name) for _, entry, name in kept], chunks)
    finally:
        for file in files:
            file.close()


def _checked_offsets(name: str, item: Mapping[str, Any], limit: int) -> tuple[int, int]:
    begin, end = item["data_offsets"]
    if item["dtype"] not in ITEM_BYTES:
        raise ValueError(f"{name} is of type {item['dtype']}, which is not read; F32 is")
    size = ITEM_BYTES[item["dtype"]] * prod(item["shape"])
    if not 0 <= begin <= end <= limit or end - begin != size:
        raise ValueError(f"offsets {begin}, {end} do not fit")
    return begin, end
