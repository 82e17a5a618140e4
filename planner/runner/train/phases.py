"""Phases of a block outside training: begun, held within memory, and tried at smaller micro-batches until one fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from planner.errors import OverBudgetError
from planner.runner.protocol.events import BlockStarted, Deviation, Event
from planner.runner.train.context import BlockContext
from planner.runner.train.guard import WARMING_BYTES, MemoryGuard, describe
from planner.runner.train.passes import Watch
from planner.runner.train.stop import StopSignal
from planner.runner.train.train import exhausted
from planner.schema.report_parts import Phase
from planner.system.exhaustion import is_out_of_memory
from planner.training.runtime import release_memory

T = TypeVar("T")


class Phases:
    """Begins phases of blocks and limits what they take. A `fallback` is as in `BlockContext.setting`."""

    def __init__(
        self, guard: MemoryGuard, emit: Callable[[Event], None], stop: StopSignal, training_samples: int
    ) -> None:
        """`training_samples` are those that an epoch has."""
        self.guard = guard
        """Keeps this process within its share of the budget."""
        self.stop = stop
        """Whether the run is to stop."""
        self._emit = emit
        self._training_samples = training_samples

    def begin(self, block: BlockContext, phase: Phase, fallback: int) -> None:
        """From here on a block is in another phase."""
        length = block.run.length
        steps = -(-self._training_samples // block.plan.training.batch) * block.epochs
        total = min(steps, length.max_steps or steps)
        size, accumulate = block.micro_batches[fallback], block.setting(fallback).accumulate
        release_memory()  # what the phase before had of library pages should not lie under this one's
        self.guard.enter(block.index, phase)
        peak = self.guard.life_peak_bytes
        self._emit(BlockStarted("phase", block.index, phase, total, size, accumulate, fallback, peak_bytes=peak))

    def limit(self, block: BlockContext, fallback: int, warms: bool = False) -> None:
        """Limit what may be mapped from here on; `warms`: kernels are about to be made, which map more for a while."""
        unused = block.setting(fallback).predicted.untouched_bytes
        self.guard.limit(unused + (WARMING_BYTES if warms else 0))

    def watch(self, block: BlockContext, fallback: int, what: str) -> Watch:
        """What a pass is held to between two of its micro-batches; `what` is passing, for people to read."""
        return Watch(self.stop, self.guard, what, has_smaller=fallback + 1 < len(block.micro_batches))

    def first_that_fits(self, block: BlockContext, first: int, what: str, attempt: Callable[[int], T]) -> T:
        """What `attempt` returns for the first fallback that fits, from `first` on; `what` it does, for people to read.

        Raises OverBudgetError where none fits, and what else `attempt` raises.
        """
        tried: list[str] = []
        for fallback in range(first, len(block.micro_batches)):
            try:
                return attempt(fallback)
            except (RuntimeError, MemoryError, OverBudgetError) as error:
                if not is_out_of_memory(error):
                    raise
                tried.append(f"micro-batch {block.micro_batches[fallback]}: {describe(error)}")
            # Out of the handler, so that the traceback no longer holds what the failed micro-batch had.
            self._emit(Deviation("deviation", f"{block.name}: {what} does not fit with {tried[-1]}"))
            release_memory()
        raise exhausted(block.name, tried)
