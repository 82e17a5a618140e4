"""What a process pays around its tensors: `python -m planner.profiler.calibrate JOB`.

In a process started as the training child is, every unit takes a small training step. What stays resident while all
their kernels are in use (compiled code, arenas, library pages) is the constant part of the overhead.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from planner.document import read_document, to_json
from planner.model.shapes import Shape, model_sizes
from planner.profiler.measure import Job
from planner.system.allocator import release
from planner.system.proc import read_memory
from planner.training.runtime import settle, start_torch


@dataclass(frozen=True)
class Overhead:
    """Resident bytes beyond the allocator's."""

    growth_bytes: int
    """What stays resident, above the baseline, while every unit's kernels are in use."""


def calibrate(job: Job) -> Overhead:
    """Train every unit of the job's model twice; pages that only the first time touched are given back in between."""
    started = start_torch(job.allocator, job.threads)
    _use_units(job)
    settle()
    _use_units(job)
    release()
    return Overhead(max(0, read_memory().resident_bytes - started.baseline_bytes))


def _use_units(job: Job) -> None:
    """A small training step of every unit, as a batch that accumulates takes it."""
    import torch

    from planner.model.build import build_unit
    from planner.training.optimizers import make_optimizer
    from planner.training.segment import train_segment

    shape: Shape = job.model.input
    labels = torch.zeros(2, dtype=torch.int64)
    for unit, sizes in zip(job.model.units, model_sizes(job.model), strict=True):
        if sizes.parameters:
            module = build_unit(unit, shape, torch.Generator().manual_seed(0))
            optimizer = make_optimizer(job.optimizer)
            for _ in range(2):
                inputs = torch.zeros(2, *shape, requires_grad=True)
                train_segment([module], torch.nn.Flatten(), inputs, labels, weight=0.5)
                optimizer.step(module.parameters())
        shape = sizes.output


if __name__ == "__main__":
    sys.stdout.write(to_json(calibrate(read_document(Path(sys.argv[1]), Job)), indent=None) + "\n")
