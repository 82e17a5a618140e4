"""Names of files, sorted and kept on storage: however many there are, few of them are in memory."""

from __future__ import annotations

import heapq
import os
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice, pairwise
from pathlib import Path

from planner.errors import StorageError
from planner.units import KIB

_NAMES_PER_CHUNK = 64
_SORTED_AT_ONCE = 32_768
_CHUNK_BYTES = 64 * KIB


class StoredNames:
    """Names in a nameless file, found by number. None of them has a zero byte."""

    def __init__(self, folder: Path, resources: ExitStack) -> None:
        """`resources` closes the file in `folder`, whose storage is free again then. Raises StorageError."""
        self.count = 0
        self.storage_bytes = 0
        self._folder = folder
        self._starts = array("Q")
        try:
            self._file = resources.enter_context(tempfile.TemporaryFile(dir=folder, buffering=_CHUNK_BYTES))  # noqa: SIM115  # closed by resources
        except OSError as error:
            raise self._refused(error) from None

    def append(self, name: bytes) -> None:
        """Add the next one. Raises StorageError."""
        if self.count % _NAMES_PER_CHUNK == 0:
            self._starts.append(self.storage_bytes)
        try:
            self.storage_bytes += self._file.write(name + b"\0")
        except OSError as error:
            raise self._refused(error) from None
        self.count += 1

    def flush(self) -> None:
        """From here on they can be read. Raises StorageError."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from None

    def at(self, index: int) -> bytes:
        """Name `index`."""
        chunk, offset = divmod(index, _NAMES_PER_CHUNK)
        start = self._starts[chunk]
        end = self._starts[chunk + 1] if chunk + 1 < len(self._starts) else self.storage_bytes
        return os.pread(self._file.fileno(), end - start, start).split(b"\0")[offset]

    def close(self) -> None:
        """Forget them; their storage is free again."""
        self._file.close()

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(f"{self._folder}: the list of image files cannot be written ({error.strerror})")


def sorted_names(names: Iterator[bytes], scratch: Path, at_once: int = _SORTED_AT_ONCE) -> Iterator[bytes]:
    """`names`, none of which has a zero byte, in order. More than `at_once` go through a nameless file in `scratch`."""
    chunk = sorted(islice(names, at_once))
    if len(chunk) < at_once:
        yield from chunk
        return
    with tempfile.TemporaryFile(dir=scratch) as file:
        ends = [0]
        while chunk:
            file.writelines(name + b"\0" for name in chunk)
            ends.append(file.tell())
            chunk = sorted(islice(names, at_once))
        file.flush()
        yield from heapq.merge(*(_written(file.fileno(), start, end) for start, end in pairwise(ends)))


def _written(fd: int, start: int, end: int) -> Iterator[bytes]:
    """The names between two places of a file."""
    rest = b""
    while start < end:
        chunk = os.pread(fd, min(_CHUNK_BYTES, end - start), start)
        start += len(chunk)
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
