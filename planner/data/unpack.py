"""Compressed members unpacked into the work folder: streaming, whole or not at all.

That folder is made for one opening and goes with it; what is kept of a data set are its records (`records.py`).
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

from planner.data.arrays import RecordFile
from planner.errors import DataError, StorageError
from planner.system.files import make_folder
from planner.units import KIB, format_bytes

CHUNK_BYTES = 64 * KIB
"""Most unpacked bytes that are in memory at a time."""

CORRUPT = (OSError, EOFError, zlib.error, BadZipFile)
"""What gzip and zipfile raise for a damaged source."""


class Stream(Protocol):
    """What gives unpacked bytes."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


def data_folder(work_dir: Path) -> Path:
    """Make the folder inside `work_dir` where unpacked data lies. Raises StorageError."""
    folder = work_dir / "data"
    make_folder(folder)
    return folder


def check_room(name: str, needed_bytes: int, most_bytes: int | None) -> None:
    """Raise DataError where unpacked data would take more of a folder that is memory than there is for it."""
    if most_bytes is not None and needed_bytes > most_bytes:
        raise DataError(
            name,
            f"unpacked, it takes {format_bytes(needed_bytes)} in a folder that is memory, and the budget leaves "
            f"{format_bytes(max(0, most_bytes))} for that; unpack it beforehand (numpy.savez, gunzip), or work in a "
            "folder on storage",
        )


def unpack(
    source: RecordFile,
    member: str,
    size: int,
    opened: Callable[[], AbstractContextManager[Stream]],
    work_dir: Path,
) -> Path:
    """Unpack the `size` bytes of `member` in `source` and return their file, for as long as `work_dir` is there.

    `opened` starts the stream. Raises DataError for a damaged source and for one that unpacks to more or less than
    `size` (never is more written), StorageError when the work folder cannot take it.
    """
    folder = data_folder(work_dir)
    key = hashlib.sha256(os.fsencode(source.path.resolve())).hexdigest()[:16]
    target = folder / f"{member}-{key}.bin"
    try:
        _land(target, _chunks(source.name, opened, size), size)
    except OSError as error:
        free = os.statvfs(folder)
        raise StorageError(
            f"{folder}: unpacking {source.name} needs {format_bytes(size)}, "
            f"{format_bytes(free.f_bavail * free.f_frsize)} are free ({error.strerror})"
        ) from None
    return target


def _chunks(source: str, opened: Callable[[], AbstractContextManager[Stream]], size: int) -> Iterator[bytes]:
    left = size
    try:
        with opened() as stream:
            while left and (chunk := stream.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
            # Reading past the end is also what makes gzip and zipfile compare the checksum.
            surplus = stream.read(1)
    except CORRUPT as error:
        raise DataError(source, f"is damaged ({error})") from None
    if left or surplus:
        found = f"only {size - left}" if left else "more"
        raise DataError(source, f"unpacks to {found} bytes where its header promises {size}")


def _land(target: Path, chunks: Iterator[bytes], size: int) -> None:
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            # Storage that is too small says so here, before the first byte is unpacked.
            os.posix_fallocate(file.fileno(), 0, size)
            for chunk in chunks:
                file.write(chunk)
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
