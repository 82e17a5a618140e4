"""How fast a folder's storage writes and reads, with the page cache out of the way."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from planner.errors import StorageError
from planner.system.files import free_bytes, storage_errors
from planner.units import MIB, format_bytes

_PIECE_BYTES = MIB
_LEAST_BYTES = 4 * MIB


@dataclass(frozen=True)
class StorageSpeed:
    """Sequential speed of the storage behind a folder."""

    write_bytes_per_second: float
    """From the first write until the data is on the device (fsync included)."""

    read_bytes_per_second: float
    """From the device, not from the page cache; a file system in memory has only its own speed to show."""

    measured_bytes: int
    """Size of the file that was written and read."""


def measure_storage(folder: Path | str, size_bytes: int = 64 * MIB) -> StorageSpeed:
    """Write a file of `size_bytes`, sync it, evict it from the page cache, read it back, remove it.

    The content is random, so that no file system compresses it. At most a tenth of the free space is used: the file is
    made smaller for that, down to 4 MiB, below which a StorageError says that there is too little room.
    """
    tenth = free_bytes(folder) // 10
    size_bytes = min(size_bytes, tenth) // _PIECE_BYTES * _PIECE_BYTES
    if size_bytes < _LEAST_BYTES:
        raise StorageError(
            f"{folder}: too little room to measure its speed; {format_bytes(_LEAST_BYTES)} are written at least, and "
            f"only a tenth of the free space ({format_bytes(tenth)}) may be"
        )
    with storage_errors(Path(folder)), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        write_seconds = _timed_write(file.fileno(), size_bytes)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        read_seconds = _timed_read(file.fileno(), size_bytes)
    return StorageSpeed(size_bytes / write_seconds, size_bytes / read_seconds, size_bytes)


def _timed_write(fd: int, size_bytes: int) -> float:
    piece = os.urandom(_PIECE_BYTES)
    start = perf_counter()
    for offset in range(0, size_bytes, _PIECE_BYTES):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.pwrite(fd, rest, offset + _PIECE_BYTES - len(rest)) :]
    os.fsync(fd)
    return perf_counter() - start


def _timed_read(fd: int, size_bytes: int) -> float:
    buffer = bytearray(_PIECE_BYTES)
    start = perf_counter()
    done = 0
    while done < size_bytes:
        count = os.preadv(fd, [buffer], done)
        if count == 0:
            raise StorageError(f"the storage gave back {done} of the {size_bytes} bytes written to it")
        done += count
    return perf_counter() - start
