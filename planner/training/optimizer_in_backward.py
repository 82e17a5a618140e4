"""Optimizer in backward: every parameter moves as soon as its gradient exists, so that gradients never pile up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def optimizer_in_backward(
    parameters: Iterable[nn.Parameter], step: Callable[[Iterable[Tensor]], None]
) -> Iterator[None]:
    """Within this, backward steps each of `parameters` once its gradient is complete, and lets the gradient go.

    `step` is an optimizer's. Equal to the bit to one step after backward. Every backward steps: this excludes
    accumulation.
    """

    def step_now(parameter: Tensor) -> None:
        step((parameter,))
        parameter.grad = None

    handles = [
        parameter.register_post_accumulate_grad_hook(step_now)  # type: ignore[no-untyped-call]  # torch gives it no type
        for parameter in parameters
        if parameter.requires_grad
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
