"""Units that are never trained: kept in the run's folder as trained ones are, and run for what stands behind them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from torch import nn

from planner.errors import InputError, StorageError
from planner.runner.input.samples import Samples
from planner.runner.protocol import paths
from planner.runner.storage.safetensors import TensorFile
from planner.runner.storage.weights import named_tensors, save_tensors
from planner.runner.train.block import begin_with, fresh_unit, input_shapes
from planner.schema.plan import Plan
from planner.schema.told import InitReport
from planner.training.device import wait_for
from planner.training.runtime import release_memory
from planner.training.segment import infer

_TIMED = 8
"""Micro-batches that say how fast frozen units are."""


def keep_frozen(plan: Plan, seed: int, init: Path | None, out: Path) -> None:
    """Write the frozen units' weights into `out`, where they are not there whole: those of `init`, others seeded.

    Raises StorageError.
    """
    path = out / paths.FROZEN
    if plan.training.freeze == 0 or _is_whole(path):
        return
    shapes = input_shapes(plan)
    units = [(f"units.{index}", fresh_unit(plan, index, shapes, seed)) for index in range(plan.training.freeze)]
    if init is not None:
        begin_with(init, units)
    save_tensors(path, named_tensors(units))
    del units
    release_memory()


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
        wait_for(infer(units, inputs).device)
        seconds += time.perf_counter() - started
        count += len(labels)
    loaded.close()
    return seconds / count
