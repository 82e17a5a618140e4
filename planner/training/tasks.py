"""The arithmetic of tasks: loss, labels for measuring, counting, and the fitting of linear exits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from planner.tasks.classification import Classification
from planner.tasks.kinds import AnyTask
from planner.training.discriminant import Discriminant


class MetricMeter(ABC):
    """The task's metric over the samples seen so far."""

    @abstractmethod
    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Take in outputs (micro-batch, …) and their labels."""

    @property
    @abstractmethod
    def value(self) -> float:
        """The metric. At least one sample has to have been seen."""


class LinearFit(Protocol):
    """A linear exit on its way: one pass over samples, no gradients."""

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in features (micro-batch, features) and their labels."""

    def solve(self) -> tuple[Tensor, Tensor]:
        """Weight (outputs, features) and bias (outputs). Ends this object's use."""


class Arithmetic(ABC):
    """What torch does for a task."""

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss (a scalar) of float32 outputs (micro-batch, …)."""

    @abstractmethod
    def examples(self, count: int, outputs: int, generator: torch.Generator | None = None) -> Tensor:
        """Labels to measure with, drawn from `generator`; without one the same for every sample."""

    @abstractmethod
    def meter(self) -> MetricMeter:
        """A new one."""

    @abstractmethod
    def linear_fit(self, features: int, outputs: int) -> LinearFit:
        """A new one, for so many features."""


class _Right(MetricMeter):
    """The share of samples whose largest output is their class."""

    def __init__(self) -> None:
        self._right = self._seen = 0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        self._right += int((outputs.argmax(1) == labels).sum())
        self._seen += len(labels)

    @property
    def value(self) -> float:
        return self._right / self._seen


class _Classification(Arithmetic):
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels)

    def examples(self, count: int, outputs: int, generator: torch.Generator | None = None) -> Tensor:
        if generator is None:
            return torch.zeros(count, dtype=torch.int64)
        return torch.randint(0, outputs, (count,), generator=generator)

    def meter(self) -> MetricMeter:
        return _Right()

    def linear_fit(self, features: int, outputs: int) -> LinearFit:
        return Discriminant(features, outputs)


def make_arithmetic(task: AnyTask) -> Arithmetic:
    """What torch does for `task`."""
    match task:
        case Classification():
            return _Classification()
