"""Gradients of parameters that two losses move one after another: those of one kept apart from those of the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class ApartGradients:
    """One loss's gradients, which are in their parameters' `grad` only while that loss is at work."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._gradients: list[Tensor | None] = [None] * len(self._parameters)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this they are what backward adds to and an optimizer steps by; what was there before waits."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def drop(self) -> None:
        """Free them."""
        self._gradients = [None] * len(self._parameters)

    def _swap(self) -> None:
        for index, parameter in enumerate(self._parameters):
            self._gradients[index], parameter.grad = parameter.grad, self._gradients[index]
