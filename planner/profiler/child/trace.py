"""Allocator levels of one unit or head, from which the solver composes segments (docs/design/memory.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from planner.model.activations import Activations, each, tensors_of
from planner.profiler.child.meter import Meter, Phase, without_free
from planner.profiler.child.samples import LONG_SECONDS
from planner.schema.profile import Trace, Traces
from planner.training.examples import wants_gradient
from planner.training.optimizer_in_backward import optimizer_in_backward
from planner.training.segment import Loss, pass_through, segment_loss

Step = Callable[[Iterable[Tensor]], None]
"""One optimizer step over some parameters."""


class Downstream(torch.autograd.Function):
    """Stands for the next unit: saves nothing, and allocates the output's gradient in its backward."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, *outputs: Tensor) -> Tensor:
        """A scalar, to call `backward` on."""
        ctx.shapes = [output.shape for output in outputs]  # type: ignore[attr-defined]  # autograd's way to pass values
        return outputs[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """A gradient of each output's shape, allocated here as the next unit would."""
        wanted = zip(ctx.shapes, ctx.needs_input_grad, strict=True)  # type: ignore[attr-defined]  # set in forward
        return tuple(gradient.new_ones(shape) if needs else None for shape, needs in wanted)


def downstream(output: Activations) -> Tensor:
    """A scalar whose backward sends a gradient of ones into every tensor of `output`."""
    scalar: Tensor = Downstream.apply(*tensors_of(output))  # type: ignore[no-untyped-call]  # torch gives it no type
    return scalar


def as_leaves(inputs: Activations, first: bool = False) -> Activations:
    """What a unit is fed with: inputs that need a gradient where they can have one, unless it is `first`."""
    return each(inputs, lambda tensor: tensor.detach().requires_grad_(not first and wants_gradient(tensor)))


def set_gradients(parameters: Iterable[Tensor], existing: bool) -> None:
    """Give every parameter a zero gradient, or none."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter) if existing else None


def _unit_phases(meter: Meter, unit: nn.Module, inputs: Activations, first: bool) -> frozenset[int]:
    """Mark four phases: start, forward, output deleted, backward. Returns where the output's storages are."""
    x = as_leaves(inputs, first)
    meter.mark()
    output = unit(x)
    addresses = frozenset(tensor.untyped_storage().data_ptr() for tensor in tensors_of(output))
    meter.mark()
    end = downstream(output)
    del output
    meter.mark()
    if end.requires_grad:
        end.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    meter.mark()
    return addresses


def _to_trace(phases: list[Phase], addresses: frozenset[int]) -> Trace:
    start, forward, dropped, backward = phases
    kept = forward.bytes - start.bytes
    held = without_free([dropped, backward], addresses)[1]
    return Trace(
        forward_peak_bytes=forward.peak - start.bytes,
        kept_bytes=kept,
        saved_bytes=max(0, min(kept, dropped.bytes - start.bytes)),
        backward_peak_bytes=backward.peak - start.bytes,
        held_backward_peak_bytes=held.peak - start.bytes,
        end_bytes=max(0, backward.bytes - start.bytes),
    )


@dataclass(frozen=True)
class PassTimes:
    """Seconds of a training pass through a unit or head."""

    forward: float
    """Forward."""
    backward: float
    """The input's gradient included."""
    first_backward: float
    """Without the input's gradient."""

    @property
    def are_long(self) -> bool:
        """Whether torch.profiler's own share of them is small."""
        return self.forward + self.backward > LONG_SECONDS


def trace_unit(meter: Meter, unit: nn.Module, inputs: Activations, step: Step) -> tuple[Traces, PassTimes]:
    """Allocator levels of a unit in every case that training meets, and the shortest times seen meanwhile.

    Args:
        meter: of the unit's device.
        unit: in training mode.
        inputs: (micro-batch, …).
        step: the optimizer's step, for the optimizer in backward; its state is made, its learning rate 0.
    """
    parameters = list(unit.parameters())
    addresses: list[frozenset[int]] = []

    def run() -> None:
        for first in (False, True):
            for existing in (False, True):
                set_gradients(parameters, existing)
                addresses.append(_unit_phases(meter, unit, inputs, first))
        set_gradients(parameters, existing=False)
        with optimizer_in_backward(parameters, step):
            addresses.extend(_unit_phases(meter, unit, inputs, first) for first in (False, True))

    phases = meter.record(run)  # may run it a second time: the addresses of the first are those of the events
    set_gradients(parameters, existing=False)
    runs = [phases[at : at + 4] for at in range(0, len(phases), 4)]
    times = PassTimes(
        forward=min(forward.seconds for _, forward, _, _ in runs),
        backward=min(backward.seconds for *_, backward in runs[0:2]),
        first_backward=min(backward.seconds for *_, backward in runs[2:4]),
    )
    return Traces(*map(_to_trace, runs, addresses[: len(runs)])), times


def _head_phases(meter: Meter, head: nn.Module | None, task_loss: Loss, inputs: Tensor, labels: Tensor) -> None:
    """Mark three phases: start, forward, backward."""
    x = inputs.detach().requires_grad_()
    meter.mark()
    loss, _ = segment_loss([], head, task_loss, x, labels)
    meter.mark()
    loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    del loss
    meter.mark()


def trace_head(meter: Meter, head: nn.Module | None, loss: Loss, inputs: Tensor, labels: Tensor, step: Step) -> Traces:
    """The same for a head behind a unit, its loss included; with no module, for the loss alone."""
    parameters = [] if head is None else list(head.parameters())

    def run() -> None:
        for existing in (False, True):
            set_gradients(parameters, existing)
            _head_phases(meter, head, loss, inputs, labels)
        set_gradients(parameters, existing=False)
        with optimizer_in_backward(parameters, step):
            _head_phases(meter, head, loss, inputs, labels)

    phases = meter.record(run)
    set_gradients(parameters, existing=False)
    empty, accumulating, stepping = (_head_trace(phases[at : at + 3]) for at in (0, 3, 6))
    return Traces(empty, accumulating, empty, accumulating, stepping, stepping)


def _head_trace(phases: list[Phase]) -> Trace:
    start, forward, backward = phases
    kept, peak = forward.bytes - start.bytes, backward.peak - start.bytes
    return Trace(forward.peak - start.bytes, kept, kept, peak, peak, max(0, backward.bytes - start.bytes))


@dataclass(frozen=True)
class Inference:
    """A forward without gradients, in evaluation mode."""

    peak_bytes: int
    """Highest level above the start."""
    kept_bytes: int
    """Bytes of the output."""
    seconds: float
    """Its duration, with torch.profiler running."""


def trace_inference(meter: Meter, unit: nn.Module, inputs: Activations) -> Inference:
    """One forward of a unit or head without gradients. `inputs` is (micro-batch, …)."""
    unit.eval()
    try:
        return _trace_forward(meter, unit, inputs)
    finally:
        unit.train()


def trace_detached(meter: Meter, unit: nn.Module, inputs: Activations) -> int:
    """Highest level above the start of a training forward that saves nothing: a recomputed span's first pass."""
    return _trace_forward(meter, unit, inputs).peak_bytes


def _trace_forward(meter: Meter, unit: nn.Module, inputs: Activations) -> Inference:
    def run() -> None:
        meter.mark()
        output = pass_through([unit], inputs)
        meter.mark()
        del output

    start, end = meter.record(run)
    return Inference(end.peak - start.bytes, end.bytes - start.bytes, end.seconds)


def trace_step(meter: Meter, step: Callable[[], None]) -> int:
    """Highest level above the start of one optimizer step."""

    def run() -> None:
        meter.mark()
        step()
        meter.mark()

    start, end = meter.record(run)
    return end.peak - start.bytes
