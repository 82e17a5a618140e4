"""An exported network measured on test samples within a budget: one unit's weights in memory at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from planner.data.split import Split
from planner.errors import InfeasibleError, OverBudgetError
from planner.model.activations import Activations
from planner.model.shapes import Shape, model_sizes
from planner.runner.input.samples import Samples
from planner.runner.protocol.events import Evaluated
from planner.runner.storage.exported import Exported, streamed_bytes
from planner.runner.storage.safetensors import TensorFile
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.stream import load_unit
from planner.system.exhaustion import is_out_of_memory
from planner.training.runtime import Started, release_memory
from planner.training.segment import pass_through
from planner.training.tasks import MetricMeter, make_arithmetic
from planner.units import MIB

MICRO_BATCH = 256
"""Samples in one forward where there is room."""

_KERNEL_BYTES = 12 * MIB
"""What kernels may touch beyond the runtime's baseline as they run for the first time."""


@dataclass
class _Tally:
    """What was counted."""

    metric: MetricMeter
    seconds: float = 0.0
    """In forward alone."""


def evaluate_split(exported: Exported, split: Split, guard: MemoryGuard, started: Started) -> Evaluated:
    """Measure the network, as many samples at a time as fit; `started` is what torch took.

    Raises InfeasibleError, with this process's part of the smallest budget, where not even one sample fits, and
    StorageError where the weights are not what they were when they were written.
    """
    return _Evaluator(exported, split, guard, started).run()


class _Evaluator:
    def __init__(self, exported: Exported, split: Split, guard: MemoryGuard, started: Started) -> None:
        self._model = exported.model
        self._weights = exported.weights
        self._split = split
        self._guard = guard
        self._started = started
        self._shapes: list[Shape] = [self._model.input, *(sizes.output for sizes in model_sizes(self._model))]

    def run(self) -> Evaluated:
        began = time.perf_counter()
        micro_batch = self._first_micro_batch()
        while True:
            try:
                tally = self._count(micro_batch)
                break
            except (RuntimeError, MemoryError, OverBudgetError) as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the handler, so that the traceback no longer holds what did not fit.
            if micro_batch == 1:
                raise _infeasible(max(self._guard.life_peak_bytes, self._needed_bytes(1)))
            micro_batch //= 2
        samples = self._split.samples
        return Evaluated(
            "evaluated",
            samples,
            tally.metric.value,
            samples / tally.seconds,
            time.perf_counter() - began,
            micro_batch,
            self._guard.life_peak_bytes,
            tally.metric.further,
        )

    def _needed_bytes(self, micro_batch: int) -> int:
        """Resident bytes of this process that so many samples at a time need, as far as can be told beforehand."""
        needed = self._started.baseline_bytes + _KERNEL_BYTES + streamed_bytes(self._model, micro_batch)
        return max(self._started.peak_bytes, needed)

    def _first_micro_batch(self) -> int:
        size = MICRO_BATCH
        while self._guard.is_over(self._needed_bytes(size)):
            if size == 1:
                raise _infeasible(self._needed_bytes(1))
            size //= 2
        return size

    def _count(self, micro_batch: int) -> _Tally:
        """Run all samples through, so many at a time. Raises OverBudgetError once the peak has passed the budget."""
        release_memory()
        self._guard.begin_block()
        tally = _Tally(make_arithmetic(self._model.task).meter())
        samples = Samples(
            self._split,
            self._model.input,
            None,
            micro_batch,
            labels=self._model.label_form,
            normalisation=self._model.normalised_by,
            input_dtype=self._model.input_dtype,
        )
        file = TensorFile(self._weights)
        try:
            if file.checksum is not None:
                file.verify()
            first = True
            for inputs, labels in samples.in_order():
                tally.metric.add(self._forward(file, inputs, tally, first), labels)
                self._guard.check(f"micro-batch {micro_batch}")
                first = False
        finally:
            file.close()
            self._guard.release()
        return tally

    def _forward(self, file: TensorFile, inputs: Activations, tally: _Tally, first: bool) -> Tensor:
        """What the network makes of a micro-batch; with `first`, pages that kernels touch but once are given back."""
        passing = inputs
        del inputs
        for index in range(len(self._model.units)):
            passing = self._one_unit(file, index, passing, tally)
            if first:
                release_memory()
        assert isinstance(passing, Tensor)
        return passing

    def _one_unit(self, file: TensorFile, index: int, inputs: Activations, tally: _Tally) -> Activations:
        """One unit's output; its weights are gone when this returns."""
        unit = load_unit(self._model, index, self._shapes[index], file)
        started = time.perf_counter()
        outputs = pass_through([unit], inputs)
        tally.seconds += time.perf_counter() - started
        return outputs


def _infeasible(needed_bytes: int) -> InfeasibleError:
    return InfeasibleError("one sample at a time does not fit", needed_bytes, "one unit and one sample")
