"""The figures of a unit that the solver composes segments from (DESIGN.md, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from planner.profiler.meter import Level, Meter
from planner.profiler.schema import Trace, Traces
from planner.training.segment import infer, segment_loss


class Downstream(torch.autograd.Function):
    """Stands for the next unit: keeps nothing, and its backward makes the output's gradient."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, output: Tensor) -> Tensor:
        """Any scalar will do."""
        ctx.shape = output.shape  # type: ignore[attr-defined]  # autograd's own way to pass values on
        return output.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        """A gradient of the output's shape, allocated here as the next unit would."""
        return gradient.new_ones(ctx.shape)  # type: ignore[attr-defined]  # set in forward


def downstream(output: Tensor) -> Tensor:
    """A scalar whose backward sends a gradient of ones into `output`."""
    scalar: Tensor = Downstream.apply(output)  # type: ignore[no-untyped-call]  # torch gives it no type
    return scalar


def set_gradients(parameters: Iterable[Tensor], existing: bool) -> None:
    """Give every parameter a zero gradient, or none."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter) if existing else None


def _unit_phases(meter: Meter, unit: nn.Module, inputs: Tensor, first: bool, accumulating: bool, held: bool) -> None:
    """Four phases: start, forward, the output let go, backward."""
    set_gradients(unit.parameters(), accumulating)
    x = inputs.detach().requires_grad_(not first)
    meter.mark()
    output = unit(x)
    meter.mark()
    end = downstream(output)
    holder = output if held else None
    del output
    meter.mark()
    if end.requires_grad:
        end.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    meter.mark()
    del holder


def _to_trace(free: list[Level], held: list[Level]) -> Trace:
    start, forward, dropped, backward = free
    kept = forward.bytes - start.bytes
    return Trace(
        forward_peak_bytes=forward.peak - start.bytes,
        kept_bytes=kept,
        saved_bytes=min(kept, dropped.bytes - start.bytes),
        backward_peak_bytes=backward.peak - start.bytes,
        held_backward_peak_bytes=held[3].peak - held[0].bytes,
        end_bytes=max(0, backward.bytes - start.bytes),
    )


_UNIT_CASES = [
    (first, existing, held) for first in (False, True) for existing in (False, True) for held in (False, True)
]


def trace_unit(meter: Meter, unit: nn.Module, inputs: Tensor) -> Traces:
    """Every case of one unit in a chain. `inputs` is (micro-batch, …); the unit has to be in training mode."""

    def run() -> None:
        for case in _UNIT_CASES:
            _unit_phases(meter, unit, inputs, *case)

    phases = meter.record(run)
    set_gradients(unit.parameters(), existing=False)
    cases = [_to_trace(phases[at : at + 4], phases[at + 4 : at + 8]) for at in range(0, len(phases), 8)]
    return Traces(*cases)


def _head_phases(meter: Meter, head: nn.Module | None, inputs: Tensor, labels: Tensor, accumulating: bool) -> None:
    """Three phases: start, forward, backward."""
    set_gradients([] if head is None else head.parameters(), accumulating)
    x = inputs.detach().requires_grad_()
    meter.mark()
    loss, _ = segment_loss([], head, x, labels)
    meter.mark()
    loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    del loss
    meter.mark()


def trace_head(meter: Meter, head: nn.Module | None, inputs: Tensor, labels: Tensor) -> Traces:
    """Both cases of a head behind a unit, its loss included; without a module, the loss alone."""

    def run() -> None:
        for accumulating in (False, True):
            _head_phases(meter, head, inputs, labels, accumulating)

    phases = meter.record(run)
    set_gradients([] if head is None else head.parameters(), existing=False)
    cases = []
    for start, forward, backward in (phases[:3], phases[3:]):
        kept, peak = forward.bytes - start.bytes, backward.peak - start.bytes
        cases.append(Trace(forward.peak - start.bytes, kept, kept, peak, peak, max(0, backward.bytes - start.bytes)))
    return Traces(*cases, *cases)


def trace_inference(meter: Meter, unit: nn.Module, inputs: Tensor) -> tuple[int, int]:
    """Highest level of forward without gradients, and the output's bytes."""
    unit.eval()

    def run() -> None:
        meter.mark()
        output = infer([unit], inputs)
        meter.mark()
        del output

    start, end = meter.record(run)
    unit.train()
    return end.peak - start.bytes, end.bytes - start.bytes


def trace_step(meter: Meter, step: Callable[[], None]) -> int:
    """Highest level of one optimizer step above its start."""

    def run() -> None:
        meter.mark()
        step()
        meter.mark()

    start, end = meter.record(run)
    return end.peak - start.bytes
