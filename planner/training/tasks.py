"""The arithmetic of tasks: loss, labels for measuring, counting, and the fitting of linear exits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from planner.tasks.base import Label, LabelForm
from planner.tasks.classification import Classification
from planner.tasks.kinds import AnyTask
from planner.tasks.multilabel import Multilabel
from planner.tasks.regression import Regression, RegressionLoss
from planner.training.device import bytes_of
from planner.training.discriminant import Discriminant
from planner.training.ridge import Ridge


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
    """What torch does for a task. `outputs` and `shape` are as in `planner.tasks.base.Task`."""

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss (a scalar) of float32 outputs (micro-batch, …)."""

    @abstractmethod
    def examples(
        self, count: int, outputs: int, shape: tuple[int, ...], generator: torch.Generator | None = None
    ) -> Tensor:
        """Labels to measure with, drawn from `generator`; without one the same for every sample."""

    @abstractmethod
    def meter(self) -> MetricMeter:
        """A new one."""

    def linear_fit(self, features: int, outputs: int) -> LinearFit:
        """A new one, for so many features; of tasks that say `fits_exits`."""
        raise NotImplementedError


def decode_labels(stored: memoryview, form: LabelForm) -> Tensor:
    """Labels stored one behind the other, for a micro-batch (micro-batch, …): not copied where that is equal."""
    numbers = torch.frombuffer(stored, dtype=getattr(torch, form.stored)).view(-1, *form.shape)
    return numbers.to(getattr(torch, form.dtype))


def encode_labels(labels: Tensor, form: LabelForm) -> Iterator[Label]:
    """The stored form of each label of a micro-batch (micro-batch, …)."""
    numbers = labels.to(getattr(torch, form.stored)).cpu().contiguous()
    for label in numbers:
        yield bytes(bytes_of(label))


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
    def __init__(self, task: Classification) -> None:
        self._smoothing = task.label_smoothing
        self._weights = torch.tensor(task.class_weights) if task.class_weights else None

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if self._weights is not None:
            self._weights = self._weights.to(outputs.device)
        return functional.cross_entropy(outputs, labels, self._weights, label_smoothing=self._smoothing)

    def examples(
        self, count: int, outputs: int, shape: tuple[int, ...], generator: torch.Generator | None = None
    ) -> Tensor:
        if generator is None:
            return torch.zeros(count, dtype=torch.int64)
        return torch.randint(0, outputs, (count,), generator=generator)

    def meter(self) -> MetricMeter:
        return _Right()

    def linear_fit(self, features: int, outputs: int) -> LinearFit:
        return Discriminant(features, outputs)


class _RootMeanSquare(MetricMeter):
    """The root of the mean squared error over samples and outputs."""

    def __init__(self) -> None:
        self._squares, self._seen = 0.0, 0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        self._squares += float((outputs.float() - labels).square_().sum())
        self._seen += labels.numel()

    @property
    def value(self) -> float:
        return math.sqrt(self._squares / self._seen)


_REGRESSION_LOSSES: Mapping[RegressionLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "huber": functional.huber_loss,
}


class _Regression(Arithmetic):
    def __init__(self, task: Regression) -> None:
        self._loss = _REGRESSION_LOSSES[task.loss]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return self._loss(outputs, labels)

    def examples(
        self, count: int, outputs: int, shape: tuple[int, ...], generator: torch.Generator | None = None
    ) -> Tensor:
        if generator is None:
            return torch.zeros(count, outputs)
        return torch.rand(count, outputs, generator=generator)

    def meter(self) -> MetricMeter:
        return _RootMeanSquare()

    def linear_fit(self, features: int, outputs: int) -> LinearFit:
        return Ridge(features, outputs)


class _FoundOfAll(MetricMeter):
    """F1 over all samples and classes together; 1 where there was nothing to find and nothing was found."""

    def __init__(self) -> None:
        self._right = self._either = 0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        found, wanted = outputs > 0, labels > 0.5
        self._right += int((found & wanted).sum())
        self._either += int(found.sum()) + int(wanted.sum())

    @property
    def value(self) -> float:
        return 2 * self._right / self._either if self._either else 1.0


class _SignsFit(Ridge):
    """A ridge regression to -1 and 1, so that 0 is between."""

    def add(self, features: Tensor, labels: Tensor) -> None:
        super().add(features, labels * 2 - 1)


class _Multilabel(Arithmetic):
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(outputs, labels)

    def examples(
        self, count: int, outputs: int, shape: tuple[int, ...], generator: torch.Generator | None = None
    ) -> Tensor:
        if generator is None:
            return torch.zeros(count, outputs)
        return torch.randint(0, 2, (count, outputs), generator=generator).float()

    def meter(self) -> MetricMeter:
        return _FoundOfAll()

    def linear_fit(self, features: int, outputs: int) -> LinearFit:
        return _SignsFit(features, outputs)


def make_arithmetic(task: AnyTask) -> Arithmetic:
    """What torch does for `task`."""
    match task:
        case Classification():
            return _Classification(task)
        case Regression():
            return _Regression(task)
        case Multilabel():
            return _Multilabel()
