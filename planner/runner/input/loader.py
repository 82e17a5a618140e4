"""Micro-batches read ahead by one thread into two buffers, so that storage and arithmetic work at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from planner.data.split import Split
from planner.runner.storage.cache import CacheReader
from planner.tasks.base import Label

BUFFERS = 2
"""One being trained from, one being filled. The solver counts both."""

_STACK_BYTES = 2**20


Buffer = tuple[bytearray, bytearray]
"""For the records of a micro-batch, and for its labels."""


@dataclass(frozen=True)
class Loaded:
    """One micro-batch as it came from storage."""

    records: memoryview
    """The samples' bytes, one behind the other. Valid until the next micro-batch is asked for."""
    labels: memoryview
    """The samples' labels as they are stored, one behind the other. Valid as long."""
    buffer: Buffer
    """What both are views of."""


class Loader:
    """Reads micro-batches of one split. Its buffers are allocated once and touched as they are filled."""

    def __init__(self, split: Split, micro_batch: int) -> None:
        self._split = split
        self._buffers: list[Buffer] = [
            (bytearray(micro_batch * split.record_bytes), bytearray(micro_batch * split.label_bytes))
            for _ in range(BUFFERS)
        ]
        self.stall_seconds = 0.0
        """Time the consumer waited."""

    def take_stall(self) -> float:
        """Time the consumer waited since the last call."""
        seconds, self.stall_seconds = self.stall_seconds, 0.0
        return seconds

    def load(self, micro_batches: Iterable[Sequence[int]]) -> Generator[Loaded, None, None]:
        """Yield the samples of each list of indices. Errors of the reading thread are raised here."""
        free: SimpleQueue[Buffer | None] = SimpleQueue()
        full: SimpleQueue[Loaded | BaseException | None] = SimpleQueue()
        for buffer in self._buffers:
            free.put(buffer)
        # 8 MiB of stack, the default, would be mapped and count against RLIMIT_DATA.
        threading.stack_size(_STACK_BYTES)
        thread = threading.Thread(target=self._read, args=(micro_batches, free, full), name="prefetch", daemon=True)
        thread.start()
        try:
            while True:
                started = time.perf_counter()
                item = full.get()
                self.stall_seconds += time.perf_counter() - started
                if item is None:
                    return
                if isinstance(item, BaseException):
                    try:
                        raise item
                    finally:
                        del item  # this frame would hold the error that holds this frame, and a block's memory with it
                yield item
                free.put(item.buffer)
        finally:
            free.put(None)
            thread.join()

    def _read(
        self,
        micro_batches: Iterable[Sequence[int]],
        free: SimpleQueue[Buffer | None],
        full: SimpleQueue[Loaded | BaseException | None],
    ) -> None:
        size = self._split.record_bytes
        try:
            for indices in micro_batches:
                buffer = free.get()
                if buffer is None:
                    return
                records, labels = (memoryview(each) for each in buffer)
                view = records[: len(indices) * size]
                taken = 0
                for label in _read_samples(self._split, indices, view):
                    labels[taken : taken + len(label)] = label
                    taken += len(label)
                full.put(Loaded(view, labels[:taken], buffer))
            full.put(None)
        except BaseException as error:  # handed to the consumer, which raises it
            full.put(error)


def _read_samples(split: Split | CacheReader, indices: Sequence[int], view: memoryview) -> Iterable[Label]:
    """Fill `view` with samples one behind the other and give their labels."""
    if isinstance(split, CacheReader):
        return split.read_many(indices, view)
    size = split.record_bytes
    return (split.read_into(index, view[at * size : (at + 1) * size]) for at, index in enumerate(indices))


def in_groups(indices: Iterable[int], size: int) -> Iterable[list[int]]:
    """Cut `indices` into lists of `size`, the last possibly shorter."""
    group: list[int] = []
    for index in indices:
        group.append(index)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
