"""A shard of an activation cache computed anew: its samples run through the units before it again.

One unit is in memory at a time, and no more samples than those units have run with before, so this needs less than that
did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from planner.data.split import Split
from planner.model.activations import Activations
from planner.runner.input.loader import in_groups
from planner.runner.input.order import FeistelPermutation
from planner.runner.storage.cache import CacheSpec, ShardWriter
from planner.runner.storage.safetensors import TensorFile
from planner.runner.train.context import BlockContext
from planner.runner.train.stop import StopSignal
from planner.runner.train.stream import run_stored
from planner.schema.common import CacheDtype
from planner.tasks.base import Label
from planner.training.encoding import encode_activations, input_tensor
from planner.training.tasks import encode_labels


class Repairer:
    """Computes shards of the cache that a block reads, from the data set and the weights of the blocks before it."""

    def __init__(self, block: BlockContext, micro_batch: int) -> None:
        """`micro_batch` is how many samples are in memory at once."""
        self._block = block
        self._model = block.plan.model
        self._stored = block.weight_files_before()
        self._micro_batch = micro_batch

    def write(
        self,
        folder: Path,
        spec: CacheSpec,
        shards: Sequence[int],
        split: Split,
        key: tuple[int, ...] | None,
        views: int = 1,
        stop: StopSignal | None = None,
    ) -> None:
        """Write `shards` of a cache of `split`'s samples, in so many views, each in the order that `key` draws.

        Raises StorageError, which leaves the other shards as they are.
        """
        dtype: CacheDtype = self._block.spec.input.dtype
        count = spec.samples // views
        order = range(count) if key is None else FeistelPermutation(count, *key)
        with ExitStack() as opened:
            files = list(self._open_weights(opened))
            for shard in shards:
                with ShardWriter(folder, spec, shard) as writer:
                    for group in in_groups(spec.span(shard), self._micro_batch):
                        drawn = [at // count * split.samples + order[at % count] for at in group]
                        inputs, labels = self._read(drawn, split)
                        records = encode_activations(self._run(inputs, files), dtype)
                        for record, label in zip(records, labels, strict=True):
                            writer.append(record, label)
                        if stop is not None:
                            stop.check()

    def _open_weights(self, opened: ExitStack) -> Iterator[TensorFile]:
        for stored in self._stored:
            file = TensorFile(stored.path)
            opened.callback(file.close)
            file.verify()
            yield file

    def _read(self, indices: Sequence[int], split: Split) -> tuple[Tensor, list[Label]]:
        size, form = split.record_bytes, self._model.label_form
        view = memoryview(bytearray(len(indices) * size))
        labels = [split.read_into(index, view[at * size : (at + 1) * size]) for at, index in enumerate(indices)]
        model = self._model
        inputs = input_tensor(view, model.input_dtype, model.input, self._block.plan.normalisation)
        if form.is_input:
            labels = list(encode_labels(inputs, form))
        return inputs.to(self._block.run.device), labels

    def _run(self, inputs: Activations, files: Sequence[TensorFile]) -> Activations:
        shapes, dtype = self._block.run.shapes, self._block.plan.training.dtype
        for stored, file in zip(self._stored, files, strict=True):
            inputs = run_stored(self._model, stored.units, shapes, file, inputs, dtype)
        return inputs
