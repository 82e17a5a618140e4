"""What a run's blocks read: parts of the data set, and the activation caches that lie between blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from math import prod
from pathlib import Path

from torch import nn

from planner.data.records import Records
from planner.data.split import Split
from planner.errors import ShardError, StorageError
from planner.model.shapes import Shape
from planner.operators.base import image
from planner.runner.input.augment import Augmented
from planner.runner.input.samples import Samples, run_of
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
from planner.runner.train.context import BlockContext, RunContext
from planner.runner.train.post_training import Target, write_cache
from planner.runner.train.repair import Repairer
from planner.runner.train.stop import StopSignal
from planner.schema.common import CacheDtype, Dtype, stored_bytes
from planner.schema.plan import Plan
from planner.schema.run_folder import PARTS
from planner.system.files import make_folder, storage_errors
from planner.training.segment import pass_through

_CACHE_ORDER = -2
"""In the key of the order that training samples are cached in, where epochs have their number."""

Parts = Mapping[str, Split]
"""By part of the data set, what a block reads of it."""


def split_parts(plan: Plan, data: Records, choosing: bool, holds_out: bool = False) -> Parts:
    """The parts of the data set that a run reads: to train on, to choose an exit by if there is a choice (or it
    `holds_out` all the same), to test on.

    An exit is chosen by samples that were never trained on, and never by those that its accuracy is told for.
    """
    if (holds_out or (choosing and len(plan.exits) > 1)) and data.validation.samples:
        return {"train": data.train, "validation": data.validation, "test": data.test}
    return {"train": data.training, "test": data.test}


class Inputs:
    """Opens what blocks read and write, of one run."""

    def __init__(self, run: RunContext, parts: Parts) -> None:
        self._plan = run.plan
        self._run = run
        self._length = run.length
        most = run.length.max_steps
        self._limit = None if most is None else most * run.plan.training.batch
        self._repaired: set[tuple[str, int]] = set()
        augment = run.plan.training.augment
        self._parts = dict(parts)
        if augment != "none":
            model = run.plan.model
            self._parts["train"] = Augmented(
                parts["train"], augment, image(model.input), run.length.seed, model.task.mask_side
            )

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
        return min(self._plan.training.views, self._length.epochs) if part == "train" else 1

    def key(self, part: str) -> tuple[int, ...] | None:
        """The order in which samples of the data set stand in caches: training samples are drawn once and for all."""
        return (self._length.seed, _CACHE_ORDER) if part == "train" else None

    def drawn_by(self, block: BlockContext) -> tuple[int, ...] | None:
        """How training samples of what a block reads are drawn for the cache behind it: one that it reads is drawn."""
        return None if block.reads_cache else self.key("train")

    def open(self, block: BlockContext, part: str, opened: ExitStack) -> Split:
        """What a block reads of a part; a cache has to be finished. Raises ShardError."""
        if not block.reads_cache:
            return self._parts[part]
        reader = CacheReader(block.cache_path(part), self.spec(block, part), self.views(part))
        opened.callback(reader.close)
        return reader

    def samples(self, block: BlockContext, part: str, split: Split, micro_batch: int) -> Samples:
        """The samples of a part for a block; `split` is what `open` gave."""
        shapes = block.input_shapes
        samples = partial(self._samples, split, micro_batch)
        if block.reads_cache:
            stored, views = block.spec.input.dtype, self.views(part)
            dtype = self._plan.training.dtype
            first, *further = shapes
            return samples(first, cached=stored, run=run_of(shapes), views=views, dtype=dtype, further=further)
        if block.spec.input.kind == "recompute":
            image, passes = self._plan.model.input, self._views_of(part)
            return samples(image, cached=None, run=run_of(shapes), stored=self.key("train"), views=passes)
        return self.images(part, micro_batch)

    def images(self, part: str, micro_batch: int) -> Samples:
        """The samples of a part as the data set has them."""
        shape, views = self._plan.model.input, self._views_of(part)
        return self._samples(self._parts[part], micro_batch, shape, cached=None, views=views)

    def _samples(
        self,
        split: Split,
        micro_batch: int,
        shape: Shape,
        cached: CacheDtype | None,
        run: int = 1,
        stored: tuple[int, ...] | None = None,
        views: int | None = 1,
        dtype: Dtype = "float32",
        further: Sequence[Shape] = (),
    ) -> Samples:
        """As `Samples` takes them, with what is the same for all of a run's."""
        return Samples(
            split,
            shape,
            cached,
            micro_batch,
            self._limit,
            run,
            stored,
            views,
            dtype,
            self._run.device,
            labels=self._plan.model.label_form,
            normalisation=self._plan.normalisation,
            input_dtype=self._plan.model.input_dtype,
            further=further,
        )

    def _views_of(self, part: str) -> int | None:
        """Passes of a part of the data set that differ; none: all do."""
        return None if isinstance(self._parts[part], Augmented) else 1

    def spec(self, block: BlockContext, part: str) -> CacheSpec:
        """What the cache that a block reads has to be; the weights that its content comes from are part of that."""
        dtype = block.spec.input.dtype
        file = TensorFile(block.weight_files_before()[-1].path)
        file.close()
        whose = f"{self._plan.id} {self._length.seed} {block.index} {part} {dtype} {file.checksum}"
        sizes = tuple(stored_bytes(dtype, prod(shape)) for shape in block.input_shapes)
        return CacheSpec(
            self.count(part) * self.views(part),
            sum(sizes),
            hashlib.sha256(whose.encode()).hexdigest(),
            self._plan.model.label_form.stored_bytes,
            sizes,
        )

    def is_there(self, block: BlockContext, part: str) -> bool:
        """Whether the cache that a block reads lies there, complete as far as names and sizes tell."""
        return is_finished(block.cache_path(part), self.spec(block, part))

    def target(self, block: BlockContext, part: str, opened: ExitStack) -> Target:
        """The cache that a block will read, to be written. Raises StorageError."""
        writer = opened.enter_context(CacheWriter(block.cache_path(part), self.spec(block, part)))
        return Target(writer, block.spec.input.dtype, self._plan.model.label_form)

    def fill(
        self, block: BlockContext, part: str, units: Sequence[nn.Module], samples: Samples, stop: StopSignal
    ) -> int:
        """Write a block's cache of what `units` make of `samples`; how many bytes that are. Raises StorageError."""
        with ExitStack() as opened:
            target = self.target(block, part, opened)
            write_cache(partial(pass_through, units), samples, target, self.key(part), self.views(part), stop)
            target.writer.finish()
            return target.writer.bytes_written

    def remove(self, block: BlockContext) -> None:
        """Delete the caches that a block has read."""
        for part in PARTS:
            remove_cache(block.cache_path(part))

    def take_away(self, block: BlockContext, error: ShardError) -> str:
        """Delete a broken shard that a block reads, and say which part's it was.

        Raises StorageError where it is broken a second time.
        """
        part = next(p for p in self._parts if Path(error.file).parent == block.cache_path(p))
        if (part, error.shard) in self._repaired:
            raise StorageError(f"{error}, once more after it was computed anew: the storage cannot be relied on")
        self._repaired.add((part, error.shard))
        with storage_errors(Path(error.file)):
            Path(error.file).unlink(missing_ok=True)
        return part

    def lacking(self, block: BlockContext, part: str) -> tuple[list[int], str]:
        """Shards of a cache that are not the wanted ones, and how many of how many where, in words."""
        folder, spec = block.cache_path(part), self.spec(block, part)
        make_folder(folder)
        shards = [shard for shard in range(spec.shards) if not seems_whole(folder, spec, shard)]
        return shards, f"{len(shards)} of {spec.shards} shards of {folder}"

    def rebuild(
        self, block: BlockContext, part: str, shards: Sequence[int], micro_batch: int, stop: StopSignal
    ) -> None:
        """Compute `shards` of a cache anew, from the data set and the stored weights. Raises StorageError."""
        folder, spec = block.cache_path(part), self.spec(block, part)
        repairer = Repairer(block, micro_batch)
        repairer.write(folder, spec, shards, self._parts[part], self.key(part), self.views(part), stop)
        mark_finished(folder, spec)
