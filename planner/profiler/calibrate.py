"""What the process around the tensors costs: `python -m planner.profiler.calibrate JOB`.

In a process started as the training child is, every unit takes a real training step at a small micro-batch. What stays
resident afterwards (compiled kernels, thread arenas, library pages) is the constant part of the overhead.
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
    """What stays resident after every unit has trained once."""


def calibrate(job: Job) -> Overhead:
    """Train every unit of the job's model twice, at its smallest micro-batch of at least 2.

    Between the passes clean library pages are given back, as the runner does after its dry step: what the second pass
    leaves is what training keeps touching.
    """
    started = start_torch(job.allocator, job.threads)
    _train_units(job)
    settle()
    _train_units(job)
    release()
    return Overhead(max(0, read_memory().resident_bytes - started.baseline_bytes))


def _train_units(job: Job) -> None:
    import torch

    from planner.model.build import build_unit
    from planner.training.optimizers import make_optimizer
    from planner.training.segment import train_segment

    shape: Shape = job.model.input
    size = max(2, job.micro_batches[0])
    generator = torch.Generator().manual_seed(0)
    for unit, sizes in zip(job.model.units, model_sizes(job.model), strict=True):
        module = build_unit(unit, shape, generator)
        inputs = torch.rand((size, *shape), generator=generator)
        if sizes.parameters:
            train_segment([module], torch.nn.Flatten(), inputs, torch.zeros(size, dtype=torch.int64))
            make_optimizer(job.optimizer).step(module.parameters())
        del module, inputs
        shape = sizes.output


if __name__ == "__main__":
    sys.stdout.write(to_json(calibrate(read_document(Path(sys.argv[1]), Job)), indent=None) + "\n")
