"""The activation cache: a block's outputs on storage, from which the next block trains.

A cache is a folder of shards, each a run of records of one size: the activation's bytes, its label and a checksum of
both, of the record's place, and of whose cache it is. It is written in order, shard after shard, and read in runs of
neighbouring records. It counts once its `done` file exists.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from planner.data.split import check_index
from planner.errors import ShardError
from planner.schema.common import CHECKSUM_BYTES
from planner.system.files import AtomicFile, make_folder, remove_partials, storage_errors, write_atomically
from planner.tasks.base import CLASS_BYTES, Label
from planner.units import MIB

_SHARD_BYTES = 64 * MIB
_MOST_PIECES = 1024
"""That the kernel reads at once: a record's parts, and what stands behind it."""
_DONE = "done"


Record = Sequence[memoryview]
"""An activation's bytes, tensor by tensor."""


@dataclass(frozen=True)
class CacheSpec:
    """What a cache must hold to be the one that is wanted."""

    samples: int
    """Records."""
    record_bytes: int
    """Bytes of one activation."""
    identity: str
    """Whose outputs they are; no spaces. Another cache has another."""
    label_bytes: int = CLASS_BYTES
    """Bytes of the label behind each activation."""
    parts: tuple[int, ...] = ()
    """Bytes of each of the tensors that an activation is made of; empty: it is one."""

    @property
    def per_shard(self) -> int:
        """Records of every shard but the last."""
        return max(1, _SHARD_BYTES // self.stride)

    @property
    def shards(self) -> int:
        """Files."""
        return -(-self.samples // self.per_shard)

    @property
    def stride(self) -> int:
        """Bytes from one record to the next."""
        return self.record_bytes + self.trailer_bytes

    @property
    def trailer_bytes(self) -> int:
        """Label and checksum behind every record."""
        return self.label_bytes + CHECKSUM_BYTES

    def span(self, shard: int) -> range:
        """Records of a shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.samples))

    def trailer(self, index: int, record: Record, label: Label) -> bytes:
        """What stands behind record `index`."""
        checksum = zlib.crc32(f"{self.identity} {index}".encode())
        for part in record:
            checksum = zlib.crc32(part, checksum)
        return label + zlib.crc32(label, checksum).to_bytes(CHECKSUM_BYTES, "little")

    def records(self, view: memoryview) -> list[Record]:
        """The records in memory that holds some, as they are read: all first parts one behind the other, then the next.

        On storage a record's parts follow each other. In memory each tensor's samples do, so that nothing is copied.
        """
        sizes = self.parts or (self.record_bytes,)
        count, found, at = len(view) // self.record_bytes, [], 0
        for size in sizes:
            found.append([view[start : start + size] for start in range(at, at + count * size, size)])
            at += count * size
        return list(zip(*found, strict=True))

    def done(self) -> str:
        """What the `done` file says."""
        return f"{self.samples} {self.record_bytes} {self.identity}\n"


class ShardWriter:
    """Writes one shard, which appears whole or not at all."""

    def __init__(self, folder: Path, spec: CacheSpec, shard: int) -> None:
        self._spec = spec
        self._span = spec.span(shard)
        self.next = self._span.start
        """The record that comes next."""
        self._file = AtomicFile(shard_path(folder, shard))
        self._file.__enter__()

    @property
    def is_full(self) -> bool:
        """Whether every record is there."""
        return self.next == self._span.stop

    def append(self, record: Record, label: Label) -> None:
        """Write the next record. Raises StorageError."""
        for part in record:
            self._file.write(part)
        self._file.write(self._spec.trailer(self.next, record, label))
        self.next += 1

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)


class CacheWriter:
    """Writes records one behind the other. Nothing is readable until `finish`.

    Whole shards that an earlier session left are kept: `samples` is then where to go on.
    """

    def __init__(self, folder: Path, spec: CacheSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._shard: ShardWriter | None = None
        self.bytes_written = 0
        """Bytes written in this session."""
        make_folder(folder)
        remove_partials(folder)
        kept = next((shard for shard in range(spec.shards) if not seems_whole(folder, spec, shard)), spec.shards)
        self.samples = min(kept * spec.per_shard, spec.samples)
        """Records that are there."""

    def append(self, index: int, record: Record, label: Label) -> None:
        """Write record `index`, the next in order; one that is there already is left alone. Raises StorageError."""
        if index < self.samples:
            return
        if self._shard is None:
            self._shard = ShardWriter(self._folder, self._spec, index // self._spec.per_shard)
        assert index == self._shard.next == self.samples
        self._shard.append(record, label)
        self.samples += 1
        self.bytes_written += self._spec.stride
        if self._shard.is_full:
            shard, self._shard = self._shard, None
            shard.__exit__(None, None, None)

    def finish(self) -> None:
        """Make the cache readable. Raises StorageError."""
        assert self.samples == self._spec.samples
        mark_finished(self._folder, self._spec)

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no unfinished shard behind."""
        if self._shard is not None:
            shard, self._shard = self._shard, None
            shard.__exit__(kind or RuntimeError, error, trace)


class CacheReader:
    """A finished cache, read like any split. Safe to read from any thread."""

    def __init__(self, folder: Path, spec: CacheSpec, views: int = 1) -> None:
        """`views` is how many passes of the same samples it holds, one behind the other.

        Raises ShardError where a shard is not there.
        """
        self._folder = folder
        self._spec = spec
        self.samples = spec.samples // views
        """Records of a view."""
        self.record_bytes = spec.record_bytes
        """Bytes of one activation."""
        self.label_bytes = spec.label_bytes
        """Bytes of a label."""
        self._files: list[int] = []
        for shard in range(spec.shards):
            try:
                self._files.append(os.open(shard_path(folder, shard), os.O_RDONLY))
            except OSError as error:
                self.close()
                raise _broken(folder, shard, f"cannot be read ({error.strerror})") from None
            # What is wanted is asked for in one piece; what the kernel would read beyond it is not.
            os.posix_fadvise(self._files[-1], 0, 0, os.POSIX_FADV_RANDOM)

    def read_into(self, index: int, image: memoryview) -> Label:
        """Fill `image` with record `index` and return its label. Raises ShardError where the checksum disagrees."""
        return self.read_many([index], image)[0]

    def read_many(self, indices: Sequence[int], images: memoryview) -> list[Label]:
        """Fill `images` with records, laid out as `CacheSpec.records` says; neighbours are read at once. Gives labels.

        Raises ShardError where a checksum disagrees, and where storage cannot give a record.
        """
        records = self._spec.records(images)
        labels: list[Label] = []
        for run in _runs(indices, self._spec):
            check_index(run.start, self._spec.samples)
            check_index(run.stop - 1, self._spec.samples)
            file = self._files[run.start // self._spec.per_shard]
            wanted = records[len(labels) : len(labels) + len(run)]
            labels += _read_run(file, self._folder, self._spec, run, wanted)
        return labels

    def close(self) -> None:
        """Close the shards; a second call does nothing."""
        for file in self._files:
            os.close(file)
        self._files.clear()


def is_finished(folder: Path, spec: CacheSpec) -> bool:
    """Whether the wanted cache lies there, complete as far as names and sizes tell."""
    try:
        stored = (folder / _DONE).read_bytes()
    except OSError:
        return False
    return stored == spec.done().encode() and all(_has_size(folder, spec, shard) for shard in range(spec.shards))


def mark_finished(folder: Path, spec: CacheSpec) -> None:
    """Say that every shard is there. Raises StorageError."""
    write_atomically(folder / _DONE, spec.done())


def seems_whole(folder: Path, spec: CacheSpec, shard: int) -> bool:
    """Whether a shard is there, as long as it must be, and its first and last record are the wanted ones."""
    if not _has_size(folder, spec, shard):
        return False
    span = spec.span(shard)
    records = spec.records(memoryview(bytearray(spec.record_bytes)))
    try:
        with shard_path(folder, shard).open("rb") as file:
            for index in (span.start, span.stop - 1):
                _read_run(file.fileno(), folder, spec, range(index, index + 1), records)
    except (OSError, ShardError):
        return False
    return True


def remove_cache(folder: Path) -> None:
    """Delete a cache; the mark of completeness goes first. Raises StorageError."""
    with storage_errors(folder):
        (folder / _DONE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def shard_path(folder: Path, index: int) -> Path:
    """A shard's file."""
    return folder / f"shard-{index:05d}.bin"


def _has_size(folder: Path, spec: CacheSpec, shard: int) -> bool:
    try:
        return shard_path(folder, shard).stat().st_size == len(spec.span(shard)) * spec.stride
    except OSError:
        return False


def _read_run(file: int, folder: Path, spec: CacheSpec, run: range, records: Sequence[Record]) -> list[Label]:
    """Fill `records` with neighbouring ones of one shard and return their labels. Raises ShardError."""
    shard, position = divmod(run.start, spec.per_shard)
    trailers = memoryview(bytearray(len(run) * spec.trailer_bytes))
    tails = [trailers[at : at + spec.trailer_bytes] for at in range(0, len(trailers), spec.trailer_bytes)]
    pieces = [piece for record, tail in zip(records, tails, strict=True) for piece in (*record, tail)]
    try:
        count = os.preadv(file, pieces, position * spec.stride)
    except OSError as error:
        raise _broken(folder, shard, f"cannot be read ({error.strerror})") from None
    if count != len(run) * spec.stride:
        raise _broken(folder, shard, "is shorter than its records")
    labels: list[Label] = []
    for index, record, tail in zip(run, records, tails, strict=True):
        labels.append(bytes(tail[:-CHECKSUM_BYTES]))
        if spec.trailer(index, record, labels[-1]) != tail:
            number = index - shard * spec.per_shard
            raise _broken(folder, shard, f"record {number}: its checksum disagrees with its content")
    return labels


def _runs(indices: Sequence[int], spec: CacheSpec) -> Iterator[range]:
    """Cut `indices` where they do not rise by one, where a shard ends, and where a run is long enough."""
    start = stop = indices[0]
    longest = max(1, _MOST_PIECES // (1 + max(1, len(spec.parts))))
    for index in indices:
        if index != stop or index % spec.per_shard == 0 or stop - start == longest:
            if stop > start:
                yield range(start, stop)
            start = index
        stop = index + 1
    yield range(start, stop)


def _broken(folder: Path, shard: int, problem: str) -> ShardError:
    return ShardError(str(shard_path(folder, shard)), problem, shard)
