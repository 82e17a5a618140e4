"""One case in a process of its own: `python -m benchmarks.exactness.step CASE`; prints a line of JSON (`Stepped`).

The process starts as the runner's child does, takes the dry steps that a run takes, and is then measured by the kernel.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch.nn.functional as F

from benchmarks.exactness.case import OPTIMIZER, Case
from planner.heads.convolution import ConvHead
from planner.model.heads import head_unit
from planner.model.shapes import Shape, model_sizes
from planner.schema.codec import read_document, to_json
from planner.system.proc import read_memory, reset_peak
from planner.training.runtime import release_memory, start_torch, trim_after_each

if TYPE_CHECKING:
    from torch import Tensor, nn

    from planner.training.optimizers import Optimizer

_LEAST_STEPS = 4
_ENOUGH_SECONDS = 0.6


@dataclass(frozen=True)
class Stepped:
    """What the kernel and the clock said."""

    peak_bytes: int
    """VmHWM above the baseline."""
    baseline_bytes: int
    """Resident bytes after the first tiny step."""
    seconds: float
    """Median of the steps, each over the whole batch."""
    calibration_seconds: float
    """The calibration kernel's time, mean of right before and right behind."""


class Network:
    """Segments with their heads."""

    def __init__(self, case: Case) -> None:
        import torch

        from planner.model.build import build_unit

        generator = torch.Generator().manual_seed(0)
        shapes: list[Shape] = [case.model.input, *(sizes.output for sizes in model_sizes(case.model))]
        self.case = case
        self.units: list[nn.Module] = [
            build_unit(unit, shape, generator, case.dtype)
            for unit, shape in zip(case.model.units, shapes, strict=False)
        ]
        self.heads: list[nn.Module | None] = []
        for end, filters in zip(case.ends, case.filters, strict=True):
            spec = head_unit(ConvHead("auxiliary", filters), shapes[end], case.model.classes) if filters else None
            self.heads.append(build_unit(spec, shapes[end], generator, case.dtype) if spec else None)

    @property
    def modules(self) -> list[nn.Module]:
        """Units and heads."""
        return [*self.units, *(head for head in self.heads if head is not None)]

    def segments(self) -> Iterator[tuple[int, int, nn.Module | None]]:
        """First unit, end, head."""
        yield from zip((0, *self.case.ends), self.case.ends, self.heads, strict=False)

    def parameters(self, first: int, end: int, head: nn.Module | None) -> list[nn.Parameter]:
        """Of one segment."""
        modules = [*self.units[first:end], *([head] if head else [])]
        return [parameter for module in modules for parameter in module.parameters()]

    def step(self, optimizer: Optimizer, batches: list[tuple[Tensor, Tensor]]) -> None:
        """One optimizer step."""
        from planner.training.optimizer_in_backward import optimizer_in_backward
        from planner.training.segment import train_segment

        case = self.case
        for inputs, labels in batches:
            for first, end, head in self.segments():
                parameters = self.parameters(first, end, head)
                spans = tuple((low - first, high - first) for low, high in case.recompute if first <= low < end)
                manner = (
                    optimizer_in_backward(parameters, optimizer.step) if case.optimizer_in_backward else nullcontext()
                )
                last = end == case.ends[-1]
                with manner:
                    _, held = train_segment(
                        self.units[first:end],
                        head,
                        F.cross_entropy,
                        inputs,
                        labels,
                        1 / case.accumulate,
                        not last,
                        spans,
                    )
                if case.accumulate == 1:
                    _move(optimizer, parameters)
                if held is not None:
                    inputs = held
                del held
        if case.accumulate > 1:
            for segment in self.segments():
                _move(optimizer, self.parameters(*segment))


def _move(optimizer: Optimizer, parameters: list[nn.Parameter]) -> None:
    optimizer.step(parameters)
    for parameter in parameters:
        parameter.grad = None


def take(case: Case) -> Stepped:
    """Measure the case."""
    baseline = start_torch("tight", case.threads).baseline_bytes
    import torch

    from planner.training.calibration import calibration_seconds
    from planner.training.optimizers import make_optimizer

    calibration = calibration_seconds()
    release_memory()
    network, optimizer = Network(case), make_optimizer(OPTIMIZER)
    optimizer.lr = 0.0
    batches = [
        (torch.rand(case.micro_batch, *case.model.input), torch.zeros(case.micro_batch, dtype=torch.int64))
    ] * case.accumulate
    with trim_after_each(network.modules):
        network.step(optimizer, batches)
    release_memory()
    network.step(optimizer, batches)
    reset_peak()
    seconds: list[float] = []
    while len(seconds) < _LEAST_STEPS or sum(seconds) < _ENOUGH_SECONDS:
        seconds.append(_timed(network, optimizer, batches))
    peak = read_memory().peak_bytes - baseline
    calibration = (calibration + calibration_seconds()) / 2
    return Stepped(peak, baseline, statistics.median(seconds), calibration)


def _timed(network: Network, optimizer: Optimizer, batches: list[tuple[Tensor, Tensor]]) -> float:
    started = time.perf_counter()
    network.step(optimizer, batches)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.stdout.write(to_json(take(read_document(Path(sys.argv[1]), Case)), indent=None) + "\n")
