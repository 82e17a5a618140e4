"""The training phase of one block: a dry step, fallbacks to smaller micro-batches if it does not fit, then epochs."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn

from planner.errors import OverBudgetError, RunError, StorageError
from planner.model.heads import head_sizes
from planner.runner.input.samples import Batches, MicroBatch, Samples, count_batches
from planner.runner.protocol.events import BlockStarted, Checkpointed, Deviation, Event, Step
from planner.runner.protocol.position import Position
from planner.runner.storage.checkpoint import Checkpoints
from planner.runner.storage.weights import named_tensors
from planner.runner.train.block import LoadedBlock
from planner.runner.train.context import BlockContext
from planner.runner.train.divergence import STEPS, TIMES, begins_at, first_bad, first_unfinite, highest, loss_of_zeros
from planner.runner.train.guard import WARMING_BYTES, MemoryGuard, describe
from planner.runner.train.rehearsal import rehearsal
from planner.runner.train.stop import StopSignal
from planner.schema.plan import BatchSetting
from planner.system.exhaustion import is_out_of_memory
from planner.training.device import generators_of
from planner.training.runtime import release_memory, trim_after_each
from planner.training.tasks import make_arithmetic
from planner.units import format_bytes


@dataclass(frozen=True)
class Trained:
    """A block whose training is over."""

    block: LoadedBlock
    """Its modules."""
    position: Position
    """What training came to."""
    setting: BatchSetting
    """The setting that training ended with."""


def least_micro_batch(block: BlockContext) -> int:
    """The smallest micro-batch that gives every batch normalisation of the block more than one value per channel."""
    first, behind = block.spec.units[0], block.spec.segments[-1].head_behind
    least = max(size.minimum_micro_batch for size in block.run.sizes[first:behind])
    for segment in block.spec.segments:
        if segment.head is not None:
            shape = block.run.shapes[segment.head_behind]
            least = max(least, head_sizes(segment.head, shape, block.plan.model.output).minimum_micro_batch)
    return least


class BlockTrainer:
    """Trains one block of a plan, from its beginning or from its last checkpoint."""

    def __init__(
        self,
        context: BlockContext,
        make_samples: Callable[[int], Samples],
        guard: MemoryGuard,
        emit: Callable[[Event], None],
        checkpoints: Checkpoints,
        stop: StopSignal,
        frozen: Sequence[nn.Module] = (),
        first_fallback: int = 0,
    ) -> None:
        """Open the block's last checkpoint, if it has one that can be used.

        Args:
            context: The block.
            make_samples: Opens the block's input for a micro-batch.
            guard: Keeps this process within its share of the budget.
            emit: Takes every event.
            checkpoints: Where checkpoints go.
            stop: Looked at after every checkpoint.
            frozen: As in `LoadedBlock`.
            first_fallback: The largest setting to try: 0 is the plan's own.

        Raises:
            StorageError: The weights before the block cannot be read.
        """
        self._context = context
        self._index = context.index
        self._name = context.name
        self._length = context.run.length
        self._make_samples = make_samples
        self._guard = guard
        self._emit = emit
        self._checkpoints = checkpoints
        self._stop = stop
        self._frozen = frozen
        self._batch = context.plan.training.batch
        self._least = least_micro_batch(context)
        self._settings = context.settings
        self._block: LoadedBlock | None = None
        self._had_dry_step = True
        self._loss_of_zeros = 0.0
        self._position = Position(context.index, input_checksum=context.input_checksum())
        self._begin_at(first_fallback)

    def _begin_at(self, first_fallback: int) -> None:
        try:
            found = self._checkpoints.find(self._index)
        except StorageError as error:
            self._emit(Deviation("deviation", f"{self._name} begins anew, its checkpoint is damaged: {error}"))
            self._checkpoints.remove()
            found = None
        if found is not None and found.input_checksum not in (None, self._position.input_checksum):
            text = f"{self._name} begins anew: its checkpoint was trained behind other weights"
            self._emit(Deviation("deviation", text))
            self._checkpoints.remove()
            found = None
        self._resumes = found is not None
        position = found or self._position
        self._position = replace(position, fallback=max(position.fallback, first_fallback))

    def train(self) -> Trained:
        """Train with the first setting that fits. Raises OverBudgetError when none does."""
        tried: list[str] = []
        for fallback in range(self._position.fallback, len(self._settings)):
            self._position = replace(self._position, fallback=fallback)
            setting = self._settings[fallback]
            try:
                return self._train_with(setting)
            except (RuntimeError, MemoryError, OverBudgetError) as error:
                if not is_out_of_memory(error):
                    raise
                tried.append(f"micro-batch {setting.micro_batch}{self._since()}: {describe(error)}")
            # Out of the handler, so that the traceback no longer holds the failed step's tensors.
            self._emit(Deviation("deviation", f"{self._name}: does not fit with {tried[-1]}"))
        raise exhausted(self._name, tried)

    def _since(self) -> str:
        return f", after step {self._position.step}" if self._block is not None else ""

    def _train_with(self, setting: BatchSetting) -> Trained:
        """From where the block stands. What an overrun has left of a batch is dropped, and the batch done again."""
        release_memory()
        self._guard.enter(self._index, "train")
        if self._block is None:
            self._guard.begin_block(self._position.peak_bytes, setting.predicted.untouched_bytes + WARMING_BYTES)
            samples = self._make_samples(setting.micro_batch)
            self._dry_steps(samples, setting)
            self._guard.check("its dry step")
            samples.loader.stall_seconds = 0.0
            self._block = self._start()
        else:
            self._block.drop_gradients()
            self._had_dry_step = False
            release_memory()
            self._guard.limit(setting.predicted.untouched_bytes)
            samples = self._make_samples(setting.micro_batch)
        self._emit_phase(samples)
        self._checkpoints.restart_clock()
        self._epochs(self._block, samples, setting)
        self._check_weights(self._block)
        self._position = replace(self._position, is_trained=True)
        return Trained(self._block, self._position, setting)

    def _start(self) -> LoadedBlock:
        block = self._fresh_block()
        if self._resumes:
            self._checkpoints.load(block, self._position)
        return block

    def _fresh_block(self) -> LoadedBlock:
        block = LoadedBlock(self._context, self._frozen)
        init, trained = self._context.run.init, self._context.weight_files_to_begin_with()
        if trained:
            block.begin_with_trained(trained)
        elif init is not None:
            block.begin_with(init)
        before = self._context.preceding
        if before is not None:
            block.go_on_from(before)
        release_memory()  # the pages that random numbers came from
        return block

    def _dry_steps(self, samples: Samples, setting: BatchSetting) -> None:
        """Short batches on a block of its own, in two passes.

        The first makes kernels. Library pages are given back after every unit: kernels touch up to 10 MiB the first
        time that they never touch again, and these should not add up. An epoch's odd last micro-batch has kernels of
        its own. The second pass is as high as training: it meets every state that training has.
        """
        block = self._fresh_block()
        accumulate = setting.accumulate > 1
        rehearsed = rehearsal(
            samples.count, self._batch, setting.micro_batch, self._least, self._last_step(samples, setting)
        )
        with trim_after_each(block.modules()):
            for size in sorted({size for sizes in rehearsed for size in sizes}):
                self._dry_batch(block, samples, (size,), accumulate)
        block.forget_steps()
        release_memory()
        self._guard.limit(setting.predicted.untouched_bytes)  # what kernels have mapped is there
        for sizes in rehearsed:
            self._dry_batch(block, samples, sizes, accumulate)

    def _dry_batch(self, block: LoadedBlock, samples: Samples, sizes: Sequence[int], accumulate: bool) -> None:
        with closing(samples.sized(sizes)) as micro_batches:
            block.train_batch(micro_batches, sum(sizes), accumulate)

    def _epochs(self, block: LoadedBlock, samples: Samples, setting: BatchSetting) -> None:
        """Step after step until none is left; `_position` stands behind the last one that was done."""
        per_epoch = count_batches(samples.count, self._batch, setting.micro_batch, self._least)
        last = self._last_step(samples, setting)
        while self._position.step < last:
            key = (self._length.seed, self._index, self._position.epoch)
            first_step = self._position.step_in_epoch
            batches = samples.shuffled(self._batch, self._least, key, first_step, self._position.epoch)
            try:
                self._one_epoch(block, batches, samples, setting, last)
            finally:
                batches.close()
            if self._position.step_in_epoch >= per_epoch:
                self._end_epoch(samples.is_whole)

    def _one_epoch(
        self, block: LoadedBlock, batches: Batches, samples: Samples, setting: BatchSetting, last: int
    ) -> None:
        mark = time.perf_counter()
        per_epoch = count_batches(samples.count, self._batch, setting.micro_batch, self._least)
        for count, micro_batches in batches:
            step = self._position.step
            block.optimizer.lr = self._rate(step, per_epoch * self._context.epochs, per_epoch * self._warmup)
            if not self._position.losses_began_at:
                micro_batches = self._holding_against(micro_batches)
            draw_from(block.device, self._length.seed, self._index, step)
            with self._trimming_first_batch(block):
                loss = block.train_batch(micro_batches, count, setting.accumulate > 1)
            self._watch_losses(block)
            now = time.perf_counter()
            self._advance(loss, now - mark, samples)
            mark = now
            peak = self._emit_step(step, count, loss)
            self._save_if_due(block)
            if step + 1 == last:
                return
            if self._guard.is_over(peak) and self._position.fallback + 1 < len(self._settings):
                raise OverBudgetError(f"a step took {format_bytes(peak)}, more than is allowed")

    def _trimming_first_batch(self, block: LoadedBlock) -> AbstractContextManager[None]:
        """With a setting that had no dry step, its first batch is what makes new kernels, as the dry step's is."""
        had_dry_step, self._had_dry_step = self._had_dry_step, True
        return nullcontext() if had_dry_step else trim_after_each(block.modules())

    def _advance(self, loss: float, seconds: float, samples: Samples) -> None:
        position = self._position
        begins = position.step_in_epoch == 0
        self._position = replace(
            position,
            step=position.step + 1,
            step_in_epoch=position.step_in_epoch + 1,
            epoch_seconds=position.epoch_seconds + seconds,
            loss_sum=loss + (0.0 if begins else position.loss_sum),
            loss_count=1 + (0 if begins else position.loss_count),
            stall_seconds=position.stall_seconds + samples.loader.take_stall(),
        )

    def _end_epoch(self, is_whole: bool) -> None:
        position = self._position
        self._position = replace(
            position,
            epoch=position.epoch + 1,
            step_in_epoch=0,
            epoch_seconds=0.0,
            whole_epochs=position.whole_epochs + is_whole,
            whole_seconds=position.whole_seconds + (position.epoch_seconds if is_whole else 0.0),
        )

    def _save_if_due(self, block: LoadedBlock) -> None:
        """Take a checkpoint when its time has come, or when the run is to stop."""
        if not (self._checkpoints.is_due or self._stop.is_set):
            return
        if self._position.high_steps or first_unfinite(named_tensors(block.named_modules())) is not None:
            self._stop.check()  # what is kept is good: the next step will say whether training has diverged
            return
        started = time.perf_counter()
        self._position = replace(self._position, peak_bytes=self._guard.block_peak_bytes)
        self._checkpoints.save(block, self._position)
        release_memory()  # the library pages that writing needed, up to 3 MiB, should not lie under the next steps
        seconds = time.perf_counter() - started
        self._emit(Checkpointed("checkpoint", self._index, self._position.step, seconds))
        self._stop.check()

    def _last_step(self, samples: Samples, setting: BatchSetting) -> int:
        per_epoch = count_batches(samples.count, self._batch, setting.micro_batch, self._least)
        total = per_epoch * self._context.epochs
        return min(total, self._length.max_steps or total)

    @property
    def _warmup(self) -> int:
        return self._context.warmup

    def _holding_against(self, micro_batches: Iterator[MicroBatch]) -> Iterator[MicroBatch]:
        """The same, and note what losses are held against as soon as those of the first step are there."""
        task, output = make_arithmetic(self._context.plan.model.task), self._context.plan.model.output
        for inputs, labels in micro_batches:
            self._loss_of_zeros = max(self._loss_of_zeros, loss_of_zeros(task, labels, output))
            yield inputs, labels

    def _watch_losses(self, block: LoadedBlock) -> None:
        """Look at every segment's loss of the step that was done. Raises RunError where training has diverged."""
        bad = first_bad(block.losses)
        if bad is not None:
            raise self._diverged(block, f"the loss of {self._segment(bad)} is {block.losses[bad]}", self._position.step)
        began_at = self._position.losses_began_at or begins_at(block.losses, self._loss_of_zeros)
        high = highest(block.losses, began_at)
        steps = 0 if high is None else self._position.high_steps + 1
        self._position = replace(self._position, losses_began_at=began_at, high_steps=steps)
        if high is not None and steps == STEPS:
            far = f"the loss of {self._segment(high)} is {block.losses[high]:.4g}, and {STEPS} steps long was above"
            found = f"{far} {TIMES:g} times the {began_at[high]:.4g} of its beginning"
            raise self._diverged(block, found, self._position.step)

    def _check_weights(self, block: LoadedBlock) -> None:
        """Raise RunError where the last step has left what is no number."""
        name = first_unfinite(named_tensors(block.named_modules()))
        if name is not None:
            raise self._diverged(block, f"{name} holds what is no finite number", self._position.step - 1)

    def _segment(self, index: int) -> str:
        first, last = self._context.spec.segments[index].units
        return f"units {first} to {last - 1}" if last - first > 1 else f"unit {first}"

    def _diverged(self, block: LoadedBlock, found: str, step: int) -> RunError:
        return RunError(
            f"{self._name}: training has diverged: {found} at step {step}, with a learning rate of "
            f"{block.optimizer.lr:.4g}; {self._checkpoints.describe(self._index)}. Plan again with a smaller "
            + ("--polish-lr" if self._context.is_polish else "--lr, or with a longer --warmup")
        )

    def _rate(self, step: int, total: int, warming: int = 0) -> float:
        """Of a step of `total`: evenly up over the first `warming` of them, then as the schedule says."""
        base = self._context.lr
        if step < warming:
            return base * (step + 1) / warming
        if self._context.plan.training.schedule == "constant":
            return base
        return base * 0.5 * (1 + math.cos(math.pi * (step - warming) / (total - warming)))

    def _emit_phase(self, samples: Samples) -> None:
        setting = self._settings[self._position.fallback]
        self._emit(
            BlockStarted(
                "phase",
                self._index,
                "train",
                self._last_step(samples, setting),
                setting.micro_batch,
                setting.accumulate,
                self._position.fallback,
                self._position.step,
            )
        )

    def _emit_step(self, step: int, samples: int, loss: float) -> int:
        """Emit a step that was done, and return its peak."""
        memory, epoch = self._guard.take(), self._position.epoch
        self._emit(Step("step", self._index, epoch, step, samples, loss, memory.resident_bytes, memory.peak_bytes))
        return memory.peak_bytes


def exhausted(block: str, tried: Sequence[str]) -> OverBudgetError:
    """The error of a stage, by its name, that fits with none of the settings it may have."""
    message = f" Tried: {'; '.join(tried)}" if tried else ""
    return OverBudgetError(f"{block} fits with none of its fallbacks.{message}")


def draw_from(device: torch.device, *key: int) -> None:
    """Let what follows on a device draw its random numbers (dropout) from a stream that is a function of `key`."""
    digest = hashlib.sha256(",".join(str(part) for part in key).encode()).digest()
    for generator in generators_of(device):
        generator.manual_seed(int.from_bytes(digest[:7], "little"))
