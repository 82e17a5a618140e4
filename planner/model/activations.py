"""What passes between two units: one tensor, or a tuple of them where skips are carried along. torch alone.

A gradient that comes out of a unit may be a view of a larger tensor (of what a `cat` joined, say), which it would keep
alive until backward reaches the unit that the skip comes from. So where several tensors come in, every gradient leaves
the unit in memory of its own (`owned`): what a unit was seen to take by itself is what it takes in a chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Activations = Tensor | tuple[Tensor, ...]
"""Each is (micro-batch, …)."""


def tensors_of(activations: Activations) -> tuple[Tensor, ...]:
    """All of them, the unit's `x` first."""
    return activations if isinstance(activations, tuple) else (activations,)


def first_of(activations: Activations) -> Tensor:
    """The first, or only, one."""
    return tensors_of(activations)[0]


def each(activations: Activations, make: Callable[[Tensor], Tensor]) -> Activations:
    """What `make` gives for each, in the same form."""
    return tuple(map(make, activations)) if isinstance(activations, tuple) else make(activations)


def bytes_of_all(activations: Activations) -> int:
    """Of all tensors together."""
    return sum(tensor.nbytes for tensor in tensors_of(activations))


class _Owned(torch.autograd.Function):
    """The same tensors; gradients that are views of larger ones are copied on their way back."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if gradient is None else _in_its_own(gradient) for gradient in gradients)


def _in_its_own(gradient: Tensor) -> Tensor:
    return gradient.clone() if gradient.untyped_storage().nbytes() > gradient.nbytes else gradient


def owned(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The same tensors, whose gradients each leave this place in memory of their own."""
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    if not wanted or not torch.is_grad_enabled():
        return tensors
    found = iter(_Owned.apply(*wanted))  # type: ignore[no-untyped-call]  # torch gives it no type
    return tuple(next(found) if tensor.requires_grad else tensor for tensor in tensors)
