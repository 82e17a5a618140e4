"""The activation cache: a block's outputs on storage, from which the next block trains.

A cache is a folder of shards, each a run of records of one size: the activation's bytes, its label and a checksum of
both. It is written in the order of samples and read at random, a record at a time. It counts once its `done` file
exists.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

from planner.errors import StorageError
from planner.runner.data.split import check_index
from planner.system.files import AtomicFile, write_atomically
from planner.units import MIB

TRAILER_BYTES = 8
"""Label and checksum, 4 bytes each, behind every record."""

_SHARD_BYTES = 64 * MIB
_SYNC_BYTES = 8 * MIB
_DONE = "done"


def _records_per_shard(record_bytes: int) -> int:
    return max(1, _SHARD_BYTES // (record_bytes + TRAILER_BYTES))


def _trailer(record: memoryview, label: int) -> bytes:
    tail = label.to_bytes(4, "little")
    return tail + zlib.crc32(tail, zlib.crc32(record)).to_bytes(4, "little")


class CacheWriter:
    """Writes records one behind the other. Nothing is readable until `finish`."""

    def __init__(self, folder: Path, record_bytes: int) -> None:
        self._folder = folder
        self._record_bytes = record_bytes
        self._per_shard = _records_per_shard(record_bytes)
        self._file: AtomicFile | None = None
        self._unsynced = 0
        self.samples = 0
        """Records written."""
        self.bytes_written = 0
        """Bytes written."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def append(self, records: memoryview, labels: Sequence[int]) -> None:
        """Write `len(labels)` records that lie one behind the other in `records`."""
        size = self._record_bytes
        for position, label in enumerate(labels):
            if self._file is None:
                self._file = AtomicFile(_shard(self._folder, self.samples // self._per_shard))
                self._file.__enter__()
            record = records[position * size : (position + 1) * size]
            self._file.write(record)
            self._file.write(_trailer(record, label))
            self.samples += 1
            self.bytes_written += size + TRAILER_BYTES
            self._unsynced += size + TRAILER_BYTES
            if self._unsynced >= _SYNC_BYTES:
                # Dirty pages count against a container's limit until they are written.
                self._file.sync()
                self._unsynced = 0
            if self.samples % self._per_shard == 0:
                self._close_shard()

    def _close_shard(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.__exit__(None, None, None)

    def finish(self) -> None:
        """Make the cache readable."""
        self._close_shard()
        write_atomically(self._folder / _DONE, f"{self.samples} {self._record_bytes}\n")


class CacheReader:
    """A finished cache, read like any split. Safe to read from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            samples, record_bytes = ((folder / _DONE).read_text()).split()
        except (OSError, ValueError):
            raise StorageError(f"{folder}: is not a finished activation cache") from None
        self.samples = int(samples)
        """Records."""
        self.record_bytes = int(record_bytes)
        """Bytes of one activation."""
        self._per_shard = _records_per_shard(self.record_bytes)
        self._files: list[int] = []
        for shard in range(-(-self.samples // self._per_shard)):
            try:
                self._files.append(os.open(_shard(folder, shard), os.O_RDONLY))
            except OSError as error:
                self.close()
                raise StorageError(f"{_shard(folder, shard)}: cannot be read ({error.strerror})") from None

    def read_into(self, index: int, image: memoryview) -> int:
        """Fill `image` with record `index` and return its label. Raises StorageError where the checksum disagrees."""
        check_index(index, self.samples)
        shard, position = divmod(index, self._per_shard)
        trailer = bytearray(TRAILER_BYTES)
        stride = self.record_bytes + TRAILER_BYTES
        count = os.preadv(self._files[shard], [image, trailer], position * stride)
        label = int.from_bytes(trailer[:4], "little")
        if count != stride or _trailer(image, label) != trailer:
            raise StorageError(
                f"{_shard(self._folder, shard)}, record {position}: its checksum disagrees with its content; "
                "delete the output folder and run again"
            )
        return label

    def close(self) -> None:
        """Close the shards; a second call does nothing."""
        for file in self._files:
            os.close(file)
        self._files.clear()


def is_finished(folder: Path) -> bool:
    """Whether a cache lies there, complete."""
    return (folder / _DONE).is_file()


def remove_cache(folder: Path) -> None:
    """Delete a cache; the mark of completeness goes first."""
    (folder / _DONE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _shard(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:05d}.bin"
