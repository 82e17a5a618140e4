"""From bytes on storage to the tensors a block trains on, in the order that seed, block and epoch decide."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from planner.data.split import Split
from planner.model.activations import Activations, each
from planner.model.shapes import Shape
from planner.runner.input.loader import Loaded, Loader, in_groups
from planner.runner.input.order import FeistelPermutation, RunPermutation
from planner.schema.common import CacheDtype, Dtype
from planner.schema.inputs import InputDtype
from planner.schema.preprocessing import Normalisation
from planner.tasks.base import LabelForm
from planner.training.device import CPU
from planner.training.encoding import decode_activations, input_tensor
from planner.training.tasks import decode_labels

MicroBatch = tuple[Activations, Tensor]
"""Inputs (micro-batch, …), those of the data float32 or int64, and labels (micro-batch, …) as the task has them."""

Batches = Generator[tuple[int, Iterator[MicroBatch]], None, None]
"""Batches, each as its number of samples and its micro-batches."""


RUN_BYTES = 256 * 1024
"""Neighbours that are read at once come to about this: fast even where each read waits for a disk to turn."""
RUNS_PER_BATCH = 8
"""At least so many runs make up a batch, so that batches differ from epoch to epoch."""


def run_of(shapes: Iterable[Shape]) -> int:
    """Neighbours to be read at once of a cache that holds activations of these shapes."""
    return RUN_BYTES // (4 * sum(map(prod, shapes)))


class Samples:
    """One split as tensors. Its buffers are made once and serve every pass."""

    def __init__(
        self,
        split: Split,
        shape: Shape,
        cached: CacheDtype | None,
        micro_batch: int,
        limit: int | None = None,
        run: int = 1,
        stored: tuple[int, ...] | None = None,
        views: int | None = 1,
        dtype: Dtype = "float32",
        device: torch.device = CPU,
        *,
        labels: LabelForm,
        normalisation: Normalisation,
        input_dtype: InputDtype = "uint8",
        further: Sequence[Shape] = (),
    ) -> None:
        """Allocate the buffers.

        Args:
            split: Where samples come from.
            shape: Of one sample, without the batch.
            cached: The dtype that a cache stores activations as; none: the split holds samples of the data.
            micro_batch: Samples in one forward.
            limit: Use the first so many samples only; none: all.
            run: Neighbouring samples that an epoch takes together, for storage that is slow to seek.
            stored: Key of the order in which a cache would hold the split's samples. Neighbours are then those of the
                cache, so that a block trains on the same batches whether it reads a cache or the data set.
            views: Passes over the split that differ, one behind the other; none: every pass does.
            dtype: What cached activations are decoded to.
            device: Where the tensors are put.
            labels: How labels lie on storage, and in a micro-batch.
            normalisation: How images are normalised; what caches hold comes from such.
            input_dtype: The numbers that samples of the data hold.
            further: Shapes of the tensors that a cache holds beside the first.
        """
        self.count = min(split.samples, limit or split.samples)
        self.is_whole = self.count == split.samples
        self._shapes = (shape, *further)
        self._cached: CacheDtype | None = cached
        self._input_dtype: InputDtype = input_dtype
        self._run = run
        self._stored = stored
        self._views = views
        self._dtype = dtype
        self._device = device
        self._labels = labels
        self._normalisation = normalisation
        self._stride = split.samples
        self.micro_batch = micro_batch
        """Samples in one forward."""
        self.loader = Loader(split, micro_batch)

    def in_order(
        self, first: int = 0, key: tuple[int, ...] | None = None, views: int = 1
    ) -> Generator[MicroBatch, None, None]:
        """Every sample once in each of the first `views`, from the micro-batch on that holds position `first`.

        In the order of storage, or drawn as `key` says; that is every view's order.
        """
        order = range(self.count) if key is None else FeistelPermutation(self.count, *key)
        positions = range(first // self.micro_batch * self.micro_batch, views * self.count)
        drawn = (at // self.count * self._stride + order[at % self.count] for at in positions)
        for loaded in self.loader.load(in_groups(drawn, self.micro_batch)):
            yield self._tensors(loaded)

    def sized(self, sizes: Sequence[int]) -> Generator[MicroBatch, None, None]:
        """Micro-batches of these sizes, each of the first samples: as a pass would have them, for a dry step.

        Of several views one may hold more samples than there are; they come again then.
        """
        for loaded in self.loader.load([at % self.count for at in range(size)] for size in sizes):
            yield self._tensors(loaded)

    def shuffled(self, batch: int, least: int, key: tuple[int, ...], skip: int = 0, view: int = 0) -> Batches:
        """One epoch over a view, in an order that is a function of `key`, without its first `skip` batches.

        A remainder of fewer than `least` samples at the end is left out: batch normalisation needs more than one value.
        Each batch's micro-batches have to be used up before the next batch is asked for.
        """
        order = self._order(batch, key)
        start = self._stride * (view if self._views is None else view % self._views)
        groups = list_batches(self.count, batch, self.micro_batch, least, skip)
        wanted = ([start + order(index) for index in range(*span)] for spans in groups for span in spans)
        loads = self.loader.load(wanted)
        try:
            for spans in list_batches(self.count, batch, self.micro_batch, least, skip):
                yield sum(last - first for first, last in spans), self._some(loads, len(spans))
        finally:
            loads.close()

    def _order(self, batch: int, key: tuple[int, ...]) -> Callable[[int], int]:
        run = min(self._run, batch // RUNS_PER_BATCH)
        drawn = (RunPermutation(self.count, run, *key) if run > 1 else FeistelPermutation(self.count, *key)).__getitem__
        if self._stored is None:
            return drawn
        permutation = FeistelPermutation(self.count, *self._stored)
        return lambda index: permutation[drawn(index)]

    def _some(self, loads: Iterator[Loaded], count: int) -> Iterator[MicroBatch]:
        for _ in range(count):
            yield self._tensors(next(loads))

    def _tensors(self, loaded: Loaded) -> MicroBatch:
        if self._cached is None:
            shape = self._shapes[0]
            images = input_tensor(loaded.records, self._input_dtype, shape, self._normalisation).to(self._device)
            labels = None if self._labels.is_input else decode_labels(loaded.labels, self._labels)
            return images, images if labels is None else labels.to(self._device)
        inputs = decode_activations(loaded.records, self._cached, self._shapes, self._dtype)
        labels = decode_labels(loaded.labels, self._labels)
        return each(inputs, lambda tensor: tensor.to(self._device)), labels.to(self._device)


def list_batches(
    count: int, batch: int, micro_batch: int, least: int, skip: int = 0
) -> Iterable[Sequence[tuple[int, int]]]:
    """Yield each batch from number `skip` on as spans of positions, one per micro-batch.

    Spans shorter than `least` are left out.
    """
    for start in range(skip * batch, count, batch):
        end = min(start + batch, count)
        spans = [(at, min(at + micro_batch, end)) for at in range(start, end, micro_batch)]
        spans = [span for span in spans if span[1] - span[0] >= least]
        if spans:
            yield spans


def count_batches(count: int, batch: int, micro_batch: int, least: int) -> int:
    """How many `list_batches` yields."""
    if micro_batch < least:
        return 0
    whole = count // batch
    return whole + sum(1 for _ in list_batches(count, batch, micro_batch, least, whole))
