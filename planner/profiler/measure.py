"""The measuring child: every unit and head of a model at every micro-batch. `python -m planner.profiler.measure JOB`.

JOB is a JSON file (`Job`). Progress goes to standard output, a line of JSON each; the last line holds the result, or
the error to show.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from planner.document import read_document, to_json
from planner.errors import ModelError, PlannerError
from planner.model.heads import auxiliary_head
from planner.model.shapes import Shape, Sizes, model_sizes, unit_sizes
from planner.model.spec import Model, Unit
from planner.profiler.schema import Costs, HeadProfile, PieceProfile
from planner.settings import Optimizer
from planner.training.runtime import start_torch

if TYPE_CHECKING:
    from torch import nn

    from planner.profiler.flops import FlopCounter
    from planner.profiler.meter import Meter
    from planner.training.optimizers import Stepper


@dataclass(frozen=True)
class Job:
    """What to measure."""

    model: Model
    """The chain."""
    optimizer: Optimizer
    """Its optimizer."""
    micro_batches: tuple[int, ...]
    """Rising."""
    filters: tuple[int, ...]
    """Of auxiliary heads."""
    device: Literal["cpu", "cuda"]
    """Where."""
    threads: int
    """Threads for arithmetic."""
    allocator: Literal["tight", "fast"]
    """Allocator policy."""


@dataclass(frozen=True)
class Measured:
    """What was found."""

    units: tuple[PieceProfile, ...]
    """One per unit."""
    heads: tuple[HeadProfile, ...]
    """Every head, the classifier last."""
    uncounted_operators: tuple[str, ...]
    """Operators fvcore does not count."""


@dataclass(frozen=True)
class Progress:
    """A line of progress, the result on the last one."""

    done: int
    """Pieces measured."""
    total: int
    """Pieces there are."""
    name: str
    """What is being measured."""
    result: Measured | None = None
    """The result."""
    error: str | None = None
    """What to tell the person when it failed."""


@dataclass(frozen=True)
class _Piece:
    """A unit or head on its way through the measurement."""

    name: str
    spec: Unit | None
    shape: Shape
    boundary: int
    filters: int
    is_head: bool


def _pieces(model: Model, sizes: tuple[Sizes, ...], filters: tuple[int, ...]) -> Iterator[_Piece]:
    shape: Shape = model.input
    last = len(model.units)
    for index, (unit, size) in enumerate(zip(model.units, sizes, strict=True), start=1):
        yield _Piece(unit.name, unit, shape, index, 0, is_head=False)
        shape = size.output
        if index == last:
            yield _Piece("classifier's loss", None, shape, index, 0, is_head=True)
            continue
        for count in filters if len(shape) == 3 else filters[:1]:
            head = auxiliary_head(shape, count, model.classes)
            yield _Piece(f"head behind {unit.name}, {count} filters", head, shape, index, count, is_head=True)


def measure(job: Job) -> Iterator[Progress]:
    """Measure piece after piece, yielding progress; the last item carries the result."""
    from planner.profiler.flops import FlopCounter
    from planner.profiler.meter import meter_for

    meter = meter_for(job.device)
    counter = FlopCounter()
    pieces = list(_pieces(job.model, model_sizes(job.model), job.filters))
    units: list[PieceProfile] = []
    heads: list[HeadProfile] = []
    for done, piece in enumerate(pieces):
        yield Progress(done, len(pieces), piece.name)
        try:
            cost = _measure_piece(meter, counter, job, piece)
        except (RuntimeError, ValueError) as error:
            where = None if piece.is_head else piece.boundary - 1
            raise ModelError(f"{piece.name}: failed while being measured: {error}", unit=where) from error
        if not piece.is_head:
            units.append(cost)
            continue
        heads.append(HeadProfile(piece.boundary, "auxiliary" if piece.spec else "classifier", piece.filters, cost))
    yield Progress(len(pieces), len(pieces), "done", Measured(tuple(units), tuple(heads), counter.uncounted()))


def _measure_piece(meter: Meter, counter: FlopCounter, job: Job, piece: _Piece) -> PieceProfile:
    import torch

    from planner.model.build import build_unit
    from planner.training.optimizers import make_optimizer

    sizes = unit_sizes(piece.spec, piece.shape) if piece.spec else Sizes((), 0, 0, 0, 1)
    module: nn.Module | None = None
    step_seconds, step_bytes, state_bytes = 0.0, 0, 0
    if piece.spec:
        module = build_unit(piece.spec, piece.shape, torch.Generator().manual_seed(0)).to(meter.device)
        parameters = list(module.parameters())
        optimizer = make_optimizer(job.optimizer)
        step_seconds, step_bytes = _measure_step(meter, optimizer, parameters)
        state_bytes = sum(t.nbytes for p in parameters for t in optimizer.state(p).values())
        del optimizer
    wanted = job.micro_batches[:: 2 if piece.is_head and len(job.micro_batches) % 2 else 1]
    allowed = [size for size in wanted if size >= sizes.minimum_micro_batch] or [max(2, job.micro_batches[-1])]
    costs = tuple(_measure_costs(meter, module, piece, size, job.model.classes) for size in allowed)
    return PieceProfile(
        parameters=sizes.parameters,
        parameter_bytes=sum(p.nbytes for p in module.parameters()) if module else 0,
        buffer_bytes=sum(b.nbytes for b in module.buffers()) if module else 0,
        optimizer_bytes=state_bytes,
        step_transient_bytes=step_bytes,
        step_seconds=step_seconds,
        flops=counter.count(module, piece.shape) if module else 0,
        output_bytes=4 * _numel(sizes.output) if piece.spec else 0,
        minimum_micro_batch=sizes.minimum_micro_batch,
        costs=costs,
    )


def _numel(shape: Shape) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def _measure_step(meter: Meter, optimizer: Stepper, parameters: list[nn.Parameter]) -> tuple[float, int]:
    from planner.profiler.timing import time_step
    from planner.profiler.trace import set_gradients, trace_step

    if not parameters:
        return 0.0, 0
    set_gradients(parameters, existing=True)
    optimizer.step(parameters)
    transient = trace_step(meter, lambda: optimizer.step(parameters))
    seconds = time_step(meter, lambda: optimizer.step(parameters))
    set_gradients(parameters, existing=False)
    return seconds, transient


def _measure_costs(meter: Meter, module: nn.Module | None, piece: _Piece, size: int, classes: int) -> Costs:
    import torch

    from planner.profiler.timing import time_head, time_unit
    from planner.profiler.trace import trace_head, trace_inference, trace_unit

    generator = torch.Generator().manual_seed(size)
    inputs = torch.rand((size, *piece.shape), generator=generator).to(meter.device)
    if piece.is_head:
        labels = torch.randint(0, classes, (size,), generator=generator).to(meter.device)
        times = time_head(meter, module, inputs, labels)
        traces = trace_head(meter, module, inputs, labels)
    else:
        assert module is not None
        times = time_unit(meter, module, inputs)
        traces = trace_unit(meter, module, inputs)
    inference = trace_inference(meter, module, inputs) if module else (0, 0)
    return Costs(size, traces, *inference, times.forward, times.backward, times.first_backward, times.inference)


def main(path: str) -> int:
    """Measure the job at `path`, printing progress lines; the exit code is 0 unless an error was reported."""
    import json

    try:
        job = read_document(Path(path), Job)
        start_torch(job.allocator, job.threads, numpy=True)
        for progress in measure(job):
            sys.stdout.write(to_json(progress, indent=None) + "\n")
            sys.stdout.flush()
    except PlannerError as error:
        sys.stdout.write(json.dumps({"done": 0, "total": 1, "name": "failed", "error": str(error)}) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
