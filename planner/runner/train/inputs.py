"""What a run's blocks read: parts of the data set, and the activation caches that lie between blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from math import prod
from pathlib import Path

from torch import nn

from planner.data.split import Dataset, Split, hold_out
from planner.errors import ShardError, StorageError
from planner.runner.input.augment import Augmented
from planner.runner.input.samples import Samples, run_of
from planner.runner.protocol import paths
from planner.runner.protocol.job import RunLength
from planner.runner.storage.cache import (
    CacheReader,
    CacheSpec,
    CacheWriter,
    is_finished,
    mark_finished,
    remove_cache,
    seems_whole,
)
from planner.runner.storage.safetensors import TensorFile
from planner.runner.storage.stored import stored_units
from planner.runner.train.block import input_shapes
from planner.runner.train.post_training import Target, write_cache
from planner.runner.train.repair import Repairer
from planner.runner.train.stop import StopSignal
from planner.schema.common import stored_bytes
from planner.schema.plan import Plan
from planner.system.files import make_folder, storage_errors
from planner.training import device as devices
from planner.training.segment import infer

_CACHE_ORDER = -2
"""In the key of the order that training samples are cached in, where epochs have their number."""

Parts = Mapping[str, Split]
"""By part of the data set, what a block reads of it."""


def split_parts(plan: Plan, data: Dataset, choosing: bool) -> Parts:
    """The parts of the data set that a run reads: to train on, to choose an exit by if there is a choice, to test on.

    An exit is chosen by samples that were never trained on, and never by those that its accuracy is told for.
    """
    if choosing and len(plan.exits) > 1:
        train, validation = hold_out(data.train)
        if validation.samples:
            return {"train": train, "validation": validation, "test": data.test}
    return {"train": data.train, "test": data.test}


class Inputs:
    """Opens what blocks read and write, of one run."""

    def __init__(self, plan: Plan, parts: Parts, out: Path, order: RunLength) -> None:
        self._plan = plan
        self._out = out
        self._order = order
        self._limit = None if order.max_steps is None else order.max_steps * plan.training.batch
        self._device = devices.device_of(plan.device.kind)
        self._repaired: set[tuple[str, int]] = set()
        augment = plan.training.augment
        self._parts = dict(parts)
        if augment != "none":
            self._parts["train"] = Augmented(parts["train"], augment, plan.model.input, order.seed)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the data set that this run reads."""
        return tuple(self._parts)

    def count(self, part: str) -> int:
        """Samples that are read of a part."""
        samples = self._parts[part].samples
        return min(samples, self._limit or samples)

    def views(self, part: str) -> int:
        """Passes of a part that a cache holds: no more than are read."""
        return min(self._plan.training.views, self._order.epochs) if part == "train" else 1

    def key(self, part: str) -> tuple[int, ...] | None:
        """The order in which samples of the data set stand in caches: training samples are drawn once and for all."""
        return (self._order.seed, _CACHE_ORDER) if part == "train" else None

    def drawn_by(self, index: int) -> tuple[int, ...] | None:
        """How training samples of what a block reads are drawn for the cache behind it: one that it reads is drawn."""
        return None if self._plan.blocks[index].input.kind == "cache" else self.key("train")

    def open(self, index: int, part: str, opened: ExitStack) -> Split:
        """What a block reads of a part; a cache has to be finished. Raises ShardError."""
        if self._plan.blocks[index].input.kind != "cache":
            return self._parts[part]
        reader = CacheReader(paths.cache_path(self._out, index, part), self.spec(index, part), self.views(part))
        opened.callback(reader.close)
        return reader

    def samples(self, index: int, part: str, split: Split, micro_batch: int) -> Samples:
        """The samples of a part for a block; `split` is what `open` gave."""
        block = self._plan.blocks[index]
        shapes = input_shapes(self._plan)
        shape = shapes[block.units[0]]
        if block.input.kind == "cache":
            stored, views = block.input.dtype, self.views(part)
            run, dtype = run_of(shape), self._plan.training.dtype
            return Samples(
                split, shape, stored, micro_batch, self._limit, run, views=views, dtype=dtype, device=self._device
            )
        if block.input.kind == "recompute":
            run, key = run_of(shape), self.key("train")
            passes = self._views_of(part)
            return Samples(split, shapes[0], None, micro_batch, self._limit, run, key, passes, device=self._device)
        return self.images(part, micro_batch)

    def images(self, part: str, micro_batch: int) -> Samples:
        """The samples of a part as the data set has them."""
        shape, views = self._plan.model.input, self._views_of(part)
        return Samples(self._parts[part], shape, None, micro_batch, self._limit, views=views, device=self._device)

    def _views_of(self, part: str) -> int | None:
        """Passes of a part of the data set that differ; none: all do."""
        return None if isinstance(self._parts[part], Augmented) else 1

    def spec(self, index: int, part: str) -> CacheSpec:
        """What the cache that a block reads has to be; the weights that its content comes from are part of that."""
        block = self._plan.blocks[index]
        file = TensorFile(stored_units(self._plan, index, self._out)[-1].path)
        file.close()
        whose = f"{self._plan.id} {self._order.seed} {index} {part} {block.input.dtype} {file.checksum}"
        return CacheSpec(
            self.count(part) * self.views(part),
            stored_bytes(block.input.dtype, prod(input_shapes(self._plan)[block.units[0]])),
            hashlib.sha256(whose.encode()).hexdigest(),
        )

    def is_there(self, index: int, part: str) -> bool:
        """Whether the cache that a block reads lies there, complete as far as names and sizes tell."""
        return is_finished(paths.cache_path(self._out, index, part), self.spec(index, part))

    def target(self, index: int, part: str, opened: ExitStack) -> Target:
        """The cache that a block will read, to be written. Raises StorageError."""
        spec = self.spec(index, part)
        writer = opened.enter_context(CacheWriter(paths.cache_path(self._out, index, part), spec))
        return Target(writer, self._plan.blocks[index].input.dtype)

    def fill(self, part: str, units: Sequence[nn.Module], samples: Samples, stop: StopSignal) -> int:
        """Write the first block's cache of what frozen `units` make of `samples`; how many bytes that are."""
        with ExitStack() as opened:
            target = self.target(0, part, opened)
            write_cache(partial(infer, units), samples, target, self.key(part), self.views(part), stop)
            target.writer.finish()
            return target.writer.bytes_written

    def remove(self, index: int) -> None:
        """Delete the caches that a block has read."""
        for part in paths.PARTS:
            remove_cache(paths.cache_path(self._out, index, part))

    def take_away(self, index: int, error: ShardError) -> str:
        """Delete a broken shard that a block reads, and say which part's it was.

        Raises StorageError where it is broken a second time.
        """
        part = next(p for p in self._parts if Path(error.file).parent == paths.cache_path(self._out, index, p))
        if (part, error.shard) in self._repaired:
            raise StorageError(f"{error}, once more after it was computed anew: the storage cannot be relied on")
        self._repaired.add((part, error.shard))
        with storage_errors(Path(error.file)):
            Path(error.file).unlink(missing_ok=True)
        return part

    def lacking(self, index: int, part: str) -> tuple[list[int], str]:
        """Shards of a cache that are not the wanted ones, and how many of how many where, in words."""
        folder, spec = paths.cache_path(self._out, index, part), self.spec(index, part)
        make_folder(folder)
        shards = [shard for shard in range(spec.shards) if not seems_whole(folder, spec, shard)]
        return shards, f"{len(shards)} of {spec.shards} shards of {folder}"

    def rebuild(self, index: int, part: str, shards: Sequence[int], micro_batch: int, stop: StopSignal) -> None:
        """Compute `shards` of a cache anew, from the data set and the stored weights. Raises StorageError."""
        folder, spec = paths.cache_path(self._out, index, part), self.spec(index, part)
        repairer = Repairer(self._plan, index, self._out, micro_batch)
        repairer.write(folder, spec, shards, self._parts[part], self.key(part), self.views(part), stop)
        mark_finished(folder, spec)
