"""The training phase of one block: a dry step, a way down the ladder if it does not hold, then epoch after epoch."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from planner.errors import OverBudgetError, RunError
from planner.model.heads import auxiliary_head
from planner.model.shapes import Shape, model_sizes, unit_sizes
from planner.runner.block import LoadedBlock
from planner.runner.events import Deviation, Event, Step
from planner.runner.guard import MemoryGuard, describe
from planner.runner.job import Order
from planner.runner.samples import Samples
from planner.solver.schema import Block, Plan
from planner.system.exhaustion import is_out_of_memory
from planner.training.runtime import settle, trimming

_DRY_EPOCH = -1


@dataclass(frozen=True)
class Setting:
    """A rung: the plan's own setting, or a smaller one."""

    micro_batch: int
    """Samples in one forward and backward."""
    accumulate: int
    """Micro-batches in one optimizer step."""


@dataclass(frozen=True)
class Trained:
    """What training a block came to."""

    block: LoadedBlock
    """Its modules, trained."""
    setting: Setting
    """The rung it was trained on."""
    epochs: int
    """Whole epochs."""
    steps: int
    """Optimizer steps."""
    seconds_per_epoch: float
    """Of whole epochs; 0 where there was none."""
    loss: float
    """Mean over the last epoch."""
    stall_seconds: float
    """Time spent waiting for samples."""


def least_micro_batch(plan: Plan, block: Block) -> int:
    """The smallest micro-batch that gives every batch normalisation of the block more than one value per channel."""
    sizes = model_sizes(plan.model)
    least = max(size.minimum_micro_batch for size in sizes[slice(*block.units)])
    for segment in block.segments:
        if segment.head is not None:
            shape: Shape = sizes[segment.units[1] - 1].output
            head = auxiliary_head(shape, segment.head.filters, plan.model.classes)
            least = max(least, unit_sizes(head, shape).minimum_micro_batch)
    return least


class BlockTrainer:
    """Trains one block of a plan."""

    def __init__(
        self,
        plan: Plan,
        index: int,
        order: Order,
        make_samples: Callable[[int], Samples],
        guard: MemoryGuard,
        tell: Callable[[Event], None],
        frozen: Sequence[nn.Module] = (),
    ) -> None:
        """`make_samples` opens the block's input for a micro-batch; `frozen` is as in `LoadedBlock`."""
        self._plan = plan
        self._index = index
        self._order = order
        self._make_samples = make_samples
        self._guard = guard
        self._tell = tell
        self._frozen = frozen
        self._batch = plan.training.batch
        self._least = least_micro_batch(plan, plan.blocks[index])

    def train(self) -> Trained:
        """Train on the plan's rung, or on the first smaller one that holds. Raises OverBudgetError when none does."""
        spec = self._plan.blocks[self._index]
        rungs = [
            Setting(spec.micro_batch, spec.accumulate),
            *(Setting(r.micro_batch, r.accumulate) for r in spec.ladder),
        ]
        tried: list[str] = []
        for rung in rungs:
            try:
                return self._train_on(rung)
            except (RuntimeError, MemoryError, OverBudgetError) as error:
                if not is_out_of_memory(error):
                    raise
                tried.append(f"micro-batch {rung.micro_batch}: {describe(error)}")
            # Out of the handler, so that the traceback no longer holds the failed step's tensors.
            self._tell(Deviation("deviation", f"block {self._index}: does not fit with {tried[-1]}"))
        raise OverBudgetError(f"block {self._index} fits on no rung of its ladder. Tried: {'; '.join(tried)}")

    def _train_on(self, rung: Setting) -> Trained:
        settle()
        self._guard.begin_block()
        samples = self._make_samples(rung.micro_batch)
        self._dry_steps(samples, rung)
        self._guard.check("its dry step")
        samples.loader.stall_seconds = 0.0
        return self._epochs(self._fresh_block(), samples, rung)

    def _fresh_block(self) -> LoadedBlock:
        block = LoadedBlock(self._plan, self._index, self._order.seed, self._frozen)
        settle()  # the pages that random numbers came from
        return block

    def _dry_steps(self, samples: Samples, rung: Setting) -> None:
        """Short batches on a block of its own: the first makes optimizer state, the last is as high as any.

        In the others, library pages are given back after every unit: kernels touch up to 10 MiB the first time that
        they never touch again, and these should not add up. An epoch's odd last micro-batch has kernels of its own.
        """
        block = self._fresh_block()
        batches = samples.shuffled(self._batch, self._least, self._order.seed, self._index, _DRY_EPOCH)
        count, micro_batches = next(batches)
        odd = samples.count % self._batch % rung.micro_batch
        with trimming([*block.frozen, *(module for _, module in block.named_modules())]):
            inputs, labels = next(micro_batches)
            if odd >= self._least:
                block.train_batch(iter([(inputs[:odd], labels[:odd])]), odd, rung.accumulate > 1)
            block.train_batch(iter([(inputs, labels)]), count, rung.accumulate > 1)
        del inputs, labels
        settle()
        if rung.accumulate == 1:
            count, micro_batches = next(batches, (0, iter(())))
        block.train_batch(itertools.islice(micro_batches, 2), count, rung.accumulate > 1)
        batches.close()

    def _epochs(self, block: LoadedBlock, samples: Samples, rung: Setting) -> Trained:
        steps_per_epoch = -(-samples.count // self._batch)
        total = steps_per_epoch * self._order.epochs
        last = min(total, self._order.max_steps or total)
        step = 0
        seconds: list[float] = []
        losses: list[float] = []
        for epoch in range(self._order.epochs):
            started, done, losses = time.perf_counter(), 0, []
            for count, micro_batches in samples.shuffled(
                self._batch, self._least, self._order.seed, self._index, epoch
            ):
                block.optimizer.lr = self._rate(step, total)
                losses.append(block.train_batch(micro_batches, count, rung.accumulate > 1))
                self._check_loss(losses[-1], step)
                self._tell_step(epoch, step, count, losses[-1])
                step += 1
                done += 1
                if step == last:
                    break
            if done == steps_per_epoch and samples.is_whole:
                seconds.append(time.perf_counter() - started)
            if step == last:
                break
        mean = sum(losses) / len(losses)
        per_epoch = sum(seconds) / len(seconds) if seconds else 0.0
        return Trained(block, rung, len(seconds), step, per_epoch, mean, samples.loader.stall_seconds)

    def _check_loss(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise RunError(
                f"block {self._index}: the loss is {loss} after step {step}: training has diverged; "
                "plan again with a smaller --lr"
            )

    def _rate(self, step: int, total: int) -> float:
        base = self._plan.training.optimizer.lr
        if self._plan.training.schedule == "constant":
            return base
        return base * 0.5 * (1 + math.cos(math.pi * step / total))

    def _tell_step(self, epoch: int, step: int, samples: int, loss: float) -> None:
        memory = self._guard.take()
        self._tell(Step("step", self._index, epoch, step, samples, loss, memory.resident_bytes, memory.peak_bytes))
