"""Resident bytes of kernels beside tensors: `python -m planner.profiler.child.kernels JOB`.

In a process like the training child every unit takes a small training step. What stays resident while all their
kernels are in use (compiled code, arenas, library pages) is the constant part of the overhead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from planner.model.shapes import Shape, model_sizes
from planner.profiler.bounded import OwnLimit
from planner.profiler.job import Job
from planner.schema.codec import read_document, to_json
from planner.schema.model import Unit
from planner.system.allocator import release
from planner.system.answers import Answers
from planner.system.exhaustion import problem_of
from planner.system.proc import read_memory
from planner.training.runtime import release_memory
from planner.training.start import start_child

if TYPE_CHECKING:
    from torch import Tensor

    from planner.training.segment import Loss


@dataclass(frozen=True)
class Overhead:
    """Resident bytes beside tensors, by small steps of one unit after another."""

    growth_bytes: int
    """Resident bytes above the baseline while every unit's kernels are in use."""
    calibration_seconds: float
    """Time of the calibration kernel."""
    kept_bytes: tuple[int, ...]
    """By unit: anonymous bytes that its first step left resident once library pages are released: compiled kernels."""
    problems: tuple[str, ...] = ()
    """Units that could not take a step: name and reason."""


def use_kernels(answers: Answers, job: Job) -> Overhead:
    """Take small steps with every unit of a job's model, twice; library pages are released in between, since
    only the first time needs all of them."""
    started = start_child(answers, job.allocator, job.threads, job.start)
    from planner.training.calibration import calibration_seconds

    seconds = calibration_seconds()
    OwnLimit(job.max_bytes).renew()
    levels = [read_memory().anonymous_bytes]

    def release_between() -> None:
        release_memory()
        levels.append(read_memory().anonymous_bytes)

    _use_units(job, release_between)
    kept = tuple(max(0, after - before) for before, after in pairwise(levels))
    release_memory()
    problems = _use_units(job)
    release()
    return Overhead(max(0, read_memory().resident_bytes - started.baseline_bytes), seconds, kept, problems)


def _use_units(job: Job, behind_each: Callable[[], None] = lambda: None) -> tuple[str, ...]:
    """Take a small training step with every unit, gradients accumulating; returns the units that failed, and why."""
    problems = []
    every = model_sizes(job.model)
    shapes = (job.model.input, *(sizes.output for sizes in every))
    for boundary, (unit, sizes) in enumerate(zip(job.model.units, every, strict=True), start=1):
        if sizes.parameters:
            try:
                if unit.further_inputs or unit.further_results:
                    _use_joined(job, boundary, shapes)
                else:
                    _use(job, boundary, shapes)
            except (RuntimeError, ValueError, MemoryError) as error:
                problems.append(f"{unit.name}: {problem_of(error)}")
        behind_each()
    return tuple(problems)


def _use(job: Job, boundary: int, shapes: tuple[Shape, ...]) -> None:
    """Take steps with the unit in front of a boundary, alone and below heads, which follow all but the last."""
    import torch

    from planner.model.build import build_unit
    from planner.profiler.child.network import heads_behind
    from planner.training.heads import build_head
    from planner.training.optimizers import make_optimizer
    from planner.training.segment import train_segment
    from planner.training.tasks import make_arithmetic

    unit, shape, behind = job.model.units[boundary - 1], shapes[boundary - 1], shapes[boundary]
    is_last = boundary == len(job.model.units)
    task = make_arithmetic(job.model.task)
    labels = task.examples(2, job.model.classes, job.model.input)
    module = build_unit(unit, shape, torch.Generator().manual_seed(0), job.dtype)
    optimizer = make_optimizer(job.optimizer)
    endings: list[tuple[torch.nn.Module | None, Loss]] = [(None, task.loss if is_last else _mean)]
    if not is_last:
        for head in heads_behind(job, boundary, shapes):
            built = build_head(head, behind, job.model.output, torch.Generator().manual_seed(0), job.dtype)
            endings.append((built, task.loss))
    for _ in range(2):
        for head_behind, loss in endings:
            inputs = _inputs(job, unit, shape)
            train_segment([module], head_behind, loss, inputs, labels, weight=0.5)
            optimizer.step(module.parameters())


def _use_joined(job: Job, boundary: int, shapes: tuple[Shape, ...]) -> None:
    """The same where several tensors come into the unit or go out: alone, gradients come into all of these."""
    import torch

    from planner.model.activations import tensors_of
    from planner.model.build import build_unit
    from planner.profiler.child.network import heads_behind
    from planner.training.heads import build_head
    from planner.training.optimizers import make_optimizer
    from planner.training.segment import train_segment
    from planner.training.tasks import make_arithmetic

    unit, shape, behind = job.model.units[boundary - 1], shapes[boundary - 1], shapes[boundary]
    module = build_unit(unit, shape, torch.Generator().manual_seed(0), job.dtype)
    optimizer = make_optimizer(job.optimizer)
    task = make_arithmetic(job.model.task)
    labels = task.examples(2, job.model.classes, job.model.input)
    has_heads = boundary < len(job.model.units) and job.model.may_end(boundary)
    heads = [
        build_head(head, behind, job.model.output, torch.Generator().manual_seed(0), job.dtype)
        for head in (heads_behind(job, boundary, shapes) if has_heads else ())
    ]
    for _ in range(2):
        first = _inputs(job, unit, shape)
        further = (_inputs(job, unit, given.shape) for given in unit.further_inputs)
        inputs = (first, *further) if unit.further_inputs else first
        outputs = tensors_of(module(inputs))
        torch.stack([output.float().mean() for output in outputs]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step(module.parameters())
        for head in heads:
            train_segment([module], head, task.loss, inputs, labels, weight=0.5)
            optimizer.step(module.parameters())


def _mean(outputs: Tensor, labels: Tensor) -> Tensor:
    """In place of a loss, of what no labels are for."""
    return outputs.mean()


def _inputs(job: Job, unit: Unit, shape: Shape) -> Tensor:
    """Two samples of zeros. The first unit takes tokens where the model does."""
    import torch

    if unit is job.model.units[0] and job.model.input_dtype == "int64":
        return torch.zeros(2, *shape, dtype=torch.int64)
    return torch.zeros(2, *shape, dtype=getattr(torch, job.dtype), requires_grad=True)


if __name__ == "__main__":
    answers = Answers()
    answers.emit(to_json(use_kernels(answers, read_document(Path(sys.argv[1]), Job)), indent=None))
