"""Seconds of forward, backward and optimizer step of one unit or head."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from planner.model.activations import Activations, tensors_of
from planner.profiler.child.meter import Meter
from planner.profiler.child.trace import PassTimes, as_leaves, downstream, set_gradients
from planner.system.machine import last_level_cache_bytes
from planner.training.segment import Loss, pass_through, segment_loss
from planner.units import MIB

_LARGEST_CACHE_BYTES = 64 * MIB


class ColdCaches:
    """Evicts the processor's caches between timed passes.

    In a whole step a unit finds its weights and the allocator's pages in memory, not in a cache, after the units before
    it ran. Repeated alone it would keep both cached, and seem up to a third faster at small micro-batches.
    """

    def __init__(self, max_bytes: int) -> None:
        """Allocates 1.25 times the last-level cache, at most 64 MiB and a 64th of the process's `max_bytes`."""
        size = min(_LARGEST_CACHE_BYTES, last_level_cache_bytes() * 5 // 4, max_bytes // 64)
        self._block = torch.ones(max(1, size // 4))

    def empty(self) -> None:
        """Read more than the caches hold."""
        self._block.sum()


def _pass(meter: Meter, forward: Callable[[], Tensor], parameters: list[nn.Parameter]) -> tuple[float, float]:
    set_gradients(parameters, existing=False)
    started = meter.now()
    end = forward()
    between = meter.now()
    if end.requires_grad:
        end.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    return between - started, meter.now() - between


def time_unit(meter: Meter, caches: ColdCaches, unit: nn.Module, inputs: Activations) -> PassTimes:
    """Seconds of a unit in a chain, in training mode. `inputs` is (micro-batch, …)."""
    parameters = list(unit.parameters())
    inner, outer = as_leaves(inputs), as_leaves(inputs, first=True)

    def run() -> tuple[float, ...]:
        set_gradients(tensors_of(inner), existing=False)
        caches.empty()
        times = _pass(meter, lambda: downstream(unit(inner)), parameters)
        caches.empty()
        return *times, _pass(meter, lambda: downstream(unit(outer)), parameters)[1]

    forward, backward, first_backward = meter.sampler.repeat(run)
    set_gradients(parameters, existing=False)
    return PassTimes(forward, backward, first_backward)


def time_head(
    meter: Meter, caches: ColdCaches, head: nn.Module | None, loss: Loss, inputs: Tensor, labels: Tensor
) -> PassTimes:
    """Seconds of a head behind a unit, its loss included; with no module, of the loss alone."""
    parameters = [] if head is None else list(head.parameters())
    x = inputs.detach().requires_grad_()

    def run() -> tuple[float, ...]:
        x.grad = None
        caches.empty()
        return _pass(meter, lambda: segment_loss([], head, loss, x, labels)[0], parameters)

    forward, backward = meter.sampler.repeat(run)
    set_gradients(parameters, existing=False)
    return PassTimes(forward, backward, backward)


def time_inference(meter: Meter, caches: ColdCaches, unit: nn.Module, inputs: Activations) -> float:
    """Seconds of one forward without gradients, in evaluation mode. `inputs` is (micro-batch, …)."""
    unit.eval()

    def run() -> tuple[float, ...]:
        caches.empty()
        started = meter.now()
        pass_through([unit], inputs)
        return (meter.now() - started,)

    seconds = meter.sampler.repeat(run)[0]
    unit.train()
    return seconds


def time_step(meter: Meter, caches: ColdCaches, step: Callable[[], None]) -> float:
    """Seconds of one optimizer step; `step` has to leave gradients in place."""

    def run() -> tuple[float, ...]:
        caches.empty()
        started = meter.now()
        step()
        return (meter.now() - started,)

    return meter.sampler.repeat(run)[0]
