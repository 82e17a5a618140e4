"""Recomputation: a span of units keeps only its input, and runs forward again when backward reaches it.

`torch.utils.checkpoint` imports `torch._dynamo`, which has no room on a small device. Ours leaves the span in the graph
and takes away what its operators save; the first of them that asks for it in backward has the span run again. Against a
function that nests a second backward, this lets the incoming gradient go as soon as plain training would, needs no
stand-in where the input has no gradient, and adds up a parameter's gradient once however often it is used.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from planner.model.activations import Activations, each, first_of, tensors_of
from planner.training.device import generators_of


def recomputed(units: Sequence[nn.Module], inputs: Activations) -> Activations:
    """Forward through `units` in training mode, keeping `inputs` and the output alone, each one tensor or several.

    Loss, gradients, running statistics and generators end as without recomputation, to the bit. The units must not
    overwrite their input, and must do the same operations the second time.
    """
    span = _Span(units, inputs)
    with saved_tensors_hooks(span.drop, _restore):
        return _forward(units, inputs)


def _forward(units: Sequence[nn.Module], inputs: Activations) -> Activations:
    output = inputs
    for unit in units:
        output = unit(output)
    return output


class _Saved:
    """In place of a saved tensor. Autograd lets it go when the operator is done, and so the tensor with it."""

    def __init__(self, span: _Span) -> None:
        self.span = span
        self.tensor: Tensor | None = None


class _Span:
    """What is needed to run the units again, until that is done."""

    def __init__(self, units: Sequence[nn.Module], inputs: Activations) -> None:
        self._units = units
        self._inputs: Activations | None = inputs
        self._versions = [tensor._version for tensor in tensors_of(inputs)]
        device = first_of(inputs).device
        self._generators = [(generator, generator.clone_state()) for generator in generators_of(device)]
        self._references: list[weakref.ref[_Saved]] = []
        self._resident = {
            tensor.untyped_storage().data_ptr() for unit in units for tensor in (*unit.parameters(), *unit.buffers())
        }

    def drop(self, tensor: Tensor) -> _Saved | Tensor:
        """In the first forward: forget the tensor, unless it is a weight, which is resident anyway."""
        if self._is_resident(tensor):
            return tensor.detach()
        saved = _Saved(self)
        self._references.append(weakref.ref(saved))
        return saved

    def replay(self) -> None:
        """Run forward again and put what it saves where the first forward would have; later calls do nothing."""
        if self._inputs is None:
            return
        if [tensor._version for tensor in tensors_of(self._inputs)] != self._versions:
            raise RuntimeError("the input of a recomputed span was overwritten before backward")
        inputs = each(self._inputs, lambda tensor: tensor.detach().requires_grad_(tensor.requires_grad))
        self._inputs = None
        references = iter(self._references)

        def keep(tensor: Tensor) -> None:
            if self._is_resident(tensor):
                return
            reference = next(references, None)
            if reference is None:
                raise RuntimeError("a recomputed span saved more tensors the second time")
            saved = reference()
            if saved is not None:
                saved.tensor = tensor.detach()

        with (
            torch.enable_grad(),
            _drawing_again(self._generators),
            _uncounted(self._units),
            saved_tensors_hooks(keep, _refuse),
        ):
            _forward(self._units, inputs)
        if next(references, None) is not None:
            raise RuntimeError("a recomputed span saved fewer tensors the second time")

    def _is_resident(self, tensor: Tensor) -> bool:
        # Running statistics are among these: the second forward does not see them, so they must not be counted.
        return tensor.untyped_storage().data_ptr() in self._resident


def _restore(saved: _Saved | Tensor) -> Tensor:
    if isinstance(saved, Tensor):
        return saved
    saved.span.replay()
    assert saved.tensor is not None
    return saved.tensor


def _refuse(nothing: None) -> Tensor:
    raise RuntimeError("backward of the second forward itself was asked for")


@contextmanager
def _drawing_again(states: list[tuple[torch.Generator, torch.Generator]]) -> Iterator[None]:
    """Within this, generators draw what they drew from the states given; after it they go on where they were."""
    now = [generator.clone_state() for generator, _ in states]
    for generator, state in states:
        generator.set_state(state.get_state())
    try:
        yield
    finally:
        for (generator, _), state in zip(states, now, strict=True):
            generator.set_state(state.get_state())


@contextmanager
def _uncounted(units: Sequence[nn.Module]) -> Iterator[None]:
    """Within this, batch normalisations neither move their running statistics nor count."""
    counting: list[Any] = [
        part
        for unit in units
        for part in unit.modules()
        if part.training and getattr(part, "track_running_stats", False)
    ]
    for part in counting:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in counting:
            part.track_running_stats = True
