"""From bytes on storage to the tensors a block trains on, in the order that seed, block and epoch decide."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from planner.model.shapes import Shape
from planner.runner.data.split import Split
from planner.runner.loader import Loaded, Loader, in_groups
from planner.runner.order import Permutation

MicroBatch = tuple[Tensor, Tensor]
"""Inputs (micro-batch, …) of float32 and labels (micro-batch) of int64."""


def image_tensor(records: memoryview, shape: Shape) -> Tensor:
    """uint8 images as float32, centred: (value / 255 - 0.5) / 0.25."""
    raw = torch.frombuffer(records, dtype=torch.uint8).view(-1, *shape)
    return raw.to(torch.float32).sub_(127.5).div_(63.75)


def activation_tensor(records: memoryview, shape: Shape) -> Tensor:
    """Cached float32 activations, as they lie in the loader's buffer: no copy."""
    return torch.frombuffer(records, dtype=torch.float32).view(-1, *shape)


class Samples:
    """One split as tensors. Its buffers are made once and serve every pass."""

    def __init__(self, split: Split, shape: Shape, cached: bool, micro_batch: int, limit: int | None = None) -> None:
        """`limit` keeps to the first samples of the split."""
        self.count = min(split.samples, limit or split.samples)
        self.is_whole = self.count == split.samples
        self._shape = shape
        self._convert: Callable[[memoryview, Shape], Tensor] = activation_tensor if cached else image_tensor
        self._micro_batch = micro_batch
        self.loader = Loader(split, micro_batch)

    def in_order(self) -> Iterator[MicroBatch]:
        """Every sample once, in the order of storage."""
        for loaded in self.loader.load(in_groups(range(self.count), self._micro_batch)):
            yield self._tensors(loaded)

    def shuffled(self, batch: int, least: int, *key: int) -> Generator[tuple[int, Iterator[MicroBatch]], None, None]:
        """One epoch in an order that is a function of `key`: (samples in the batch, its micro-batches).

        A remainder of fewer than `least` samples at the end is left out: batch normalisation needs more than one value.
        Each batch's micro-batches have to be used up before the next batch is asked for.
        """
        groups = list_batches(self.count, batch, self._micro_batch, least)
        order = Permutation(self.count, *key)
        wanted = ([order[index] for index in range(*span)] for spans in groups for span in spans)
        loads = self.loader.load(wanted)
        try:
            for spans in list_batches(self.count, batch, self._micro_batch, least):
                yield sum(last - first for first, last in spans), self._some(loads, len(spans))
        finally:
            loads.close()

    def _some(self, loads: Iterator[Loaded], count: int) -> Iterator[MicroBatch]:
        for _ in range(count):
            yield self._tensors(next(loads))

    def _tensors(self, loaded: Loaded) -> MicroBatch:
        return self._convert(loaded.records, self._shape), torch.tensor(loaded.labels, dtype=torch.int64)


def list_batches(count: int, batch: int, micro_batch: int, least: int) -> Iterable[Sequence[tuple[int, int]]]:
    """Yield each batch as spans of positions, one per micro-batch; spans shorter than `least` are left out."""
    for start in range(0, count, batch):
        end = min(start + batch, count)
        spans = [(at, min(at + micro_batch, end)) for at in range(start, end, micro_batch)]
        spans = [span for span in spans if span[1] - span[0] >= least]
        if spans:
            yield spans
