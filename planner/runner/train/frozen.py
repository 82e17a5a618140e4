"""Units that are never trained: kept in the run's folder as trained ones are, and run for what stands behind them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path

from torch import Tensor, nn

from planner.errors import InputError, StorageError
from planner.model.activations import Activations, first_of
from planner.runner.input.samples import Samples
from planner.runner.storage.safetensors import TensorFile
from planner.runner.storage.weights import named_tensors, save_tensors
from planner.runner.train.block import begin_with, fresh_unit, load_before
from planner.runner.train.context import BlockContext, RunContext
from planner.runner.train.guard import WARMING_BYTES
from planner.runner.train.inputs import Inputs
from planner.runner.train.passes import rehearse
from planner.runner.train.phases import Phases
from planner.runner.train.post_training import Prefix, try_writing
from planner.schema.common import CacheDtype
from planner.schema.model import Model
from planner.schema.plan import Plan
from planner.schema.report_parts import InitReport
from planner.training.device import wait_for
from planner.training.runtime import release_memory
from planner.training.segment import pass_through

_TIMED = 8
"""Micro-batches that say how fast frozen units are."""


def keep_frozen(run: RunContext) -> None:
    """Write the frozen units' weights into the run's folder, where they are not there whole.

    They are those that the run begins with; what these lack is seeded. Raises StorageError.
    """
    path = run.folder.frozen
    count = run.plan.training.freeze
    if count == 0 or _is_whole(path):
        return
    units = [(f"units.{index}", fresh_unit(run, index)) for index in range(count)]
    init = run.init
    if init is not None:
        begin_with(init, units)
    save_tensors(path, named_tensors(units))
    del units
    release_memory()


def check_beginning(model: Model, left: Collection[str] | None) -> None:
    """Raise InputError where a tensor that only brought weights can fill was not brought.

    `left` are the names that were not given; none: nothing was given.
    """
    for name, tensor in model.graph_tensors():
        if tensor.start == "given" and (left is None or name in left):
            raise InputError(
                f"{tensor.name} is a constant of {prod(tensor.shape)} numbers, which the description does not hold: "
                "bring the network's own weights (--init, or planner.run(…, init=module))"
            )


def check_given(plan: Plan, found: InitReport) -> None:
    """Raise InputError where weights were given, but not all of the frozen units'; counts of batches may be missing."""
    frozen = tuple(f"units.{index}." for index in range(plan.training.freeze))
    left = [name for name in found.left if name.startswith(frozen) and not name.endswith(".num_batches_tracked")]
    if left:
        raise InputError(
            f"--init: holds no tensor {left[0]!r} of the right shape, but the first {len(frozen)} units are frozen and "
            "would keep a random one; give weights of this network, or plan with a smaller --freeze"
        )


def _is_whole(path: Path) -> bool:
    """Whether a file is there as it was written; a damaged one is as good as none, for it can be written again."""
    try:
        file = TensorFile(path)
    except StorageError:
        return False
    try:
        file.verify()
    except StorageError:
        return False
    finally:
        file.close()
    return True


def seconds_per_sample(units: Sequence[nn.Module], samples: Samples) -> float:
    """Forward through the units, by some micro-batches."""
    count, seconds = 0, 0.0
    loaded = samples.in_order()
    for inputs, labels in islice(loaded, _TIMED):
        started = time.perf_counter()
        wait_for(first_of(pass_through(units, inputs)).device)
        seconds += time.perf_counter() - started
        count += len(labels)
    loaded.close()
    return seconds / count


class FrozenPass:
    """Samples run through the frozen units alone, before the first block: it fills the caches that this one reads."""

    def __init__(self, first_block: BlockContext, inputs: Inputs, phases: Phases) -> None:
        self._first = first_block
        self._inputs = inputs
        self._phases = phases
        self.peak_bytes = 0
        """Highest resident bytes in it; 0 before it."""
        self.bytes_written = 0
        """Bytes that it has written to caches."""

    def run(self, first_fallback: int) -> Prefix:
        """What lies before the first block, whose caches are there afterwards, if it reads any.

        Raises OverBudgetError where that fits at none of the block's fallbacks, StorageError.
        """
        count = self._first.plan.training.freeze
        if count == 0:
            return Prefix(0, 0.0)
        what = "running its frozen units"
        seconds = self._phases.first_that_fits(self._first, first_fallback, what, self._run_once)
        return Prefix(self._first.run.parameters_before(count), seconds)

    def _run_once(self, fallback: int) -> float:
        """Fill the caches that are not there; seconds that a sample takes."""
        first, phases, inputs = self._first, self._phases, self._inputs
        filled = [part for part in inputs.parts if first.reads_cache and not inputs.is_there(first, part)]
        # Kernels are made here for the first time, which takes more than using them does.
        phases.begin(first, "prepare", fallback)
        unused = first.setting(fallback).predicted.untouched_bytes
        phases.guard.begin_block(self.peak_bytes, unused + WARMING_BYTES)
        watch = phases.watch(first, fallback, "running its frozen units")
        size = first.micro_batches[fallback]
        units = load_before(first)
        seconds = 0.0
        for part in dict.fromkeys([*filled, "test"]):
            samples = inputs.images(part, size)
            count = samples.count * inputs.views(part)
            run = partial(_infer, units, first.spec.input.dtype if part in filled else None)
            rehearse(units, run, samples, count, watch, lambda: phases.limit(first, fallback))
            if part == "test":
                seconds = seconds_per_sample(units, samples)
            del samples  # its buffers; the next part has its own
        if filled:
            phases.begin(first, "cache", fallback)
        for part in filled:
            self.bytes_written += inputs.fill(first, part, units, inputs.images(part, size), watch)
        phases.guard.take()
        self.peak_bytes = phases.guard.block_peak_bytes
        phases.guard.release()
        release_memory()
        return seconds


def _infer(units: Sequence[nn.Module], stored: CacheDtype | None, inputs: Activations, labels: Tensor) -> None:
    outputs = pass_through(units, inputs)
    if stored is not None:
        try_writing(outputs, stored)
