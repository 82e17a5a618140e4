"""The arithmetic of tasks: loss, labels for measuring, counting, and the fitting of linear exits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from planner.schema.report_parts import Figure
from planner.tasks.autoencoder import Autoencoder
from planner.tasks.base import Label, LabelForm
from planner.tasks.classification import Classification
from planner.tasks.kinds import AnyTask
from planner.tasks.multilabel import Multilabel
from planner.tasks.next_token import NextToken
from planner.tasks.regression import Regression, RegressionLoss
from planner.tasks.segmentation import Segmentation
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

    @property
    def further(self) -> tuple[Figure, ...]:
        """What there is to tell besides. At least one sample has to have been seen."""
        return ()


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


_TOP = 5
"""Of more classes than these it is told how often the right one is among them."""


class _Right(MetricMeter):
    """The share of samples whose largest output is their class, and of those whose class is among the five largest."""

    def __init__(self) -> None:
        self._right = self._near = self._seen = self._classes = 0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        self._right += int((outputs.argmax(1) == labels).sum())
        self._seen += len(labels)
        self._classes = outputs.shape[1]
        if self._classes > _TOP:
            above = (outputs > outputs.gather(1, labels[:, None])).sum(1)
            self._near += int((above < _TOP).sum())

    @property
    def further(self) -> tuple[Figure, ...]:
        return (Figure("top-5", self._near / self._seen, True),) if self._classes > _TOP else ()

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


class _MeanSquare(MetricMeter):
    """The mean squared error over samples and places."""

    def __init__(self) -> None:
        self._squares, self._seen = 0.0, 0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        for output, label in zip(outputs, labels, strict=True):  # one by one: no copy of all of them
            self._squares += float((output.float() - label).square_().sum())
        self._seen += labels.numel()

    @property
    def value(self) -> float:
        return self._squares / self._seen


class _RootMeanSquare(_MeanSquare):
    """Its root, and the share of the labels' variance that is explained (R²)."""

    def __init__(self) -> None:
        super().__init__()
        self._sums: Tensor | None = None

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        super().add(outputs, labels)
        numbers = labels.cpu().double()
        sums = torch.stack((torch.ones_like(numbers).sum(0), numbers.sum(0), numbers.square().sum(0)))
        self._sums = sums if self._sums is None else self._sums + sums

    @property
    def value(self) -> float:
        return math.sqrt(super().value)

    @property
    def further(self) -> tuple[Figure, ...]:
        assert self._sums is not None
        count, total, squares = self._sums
        variance = float((squares - total.square() / count).sum())
        return (Figure("R²", 1 - self._squares / variance, False),) if variance > 0 else ()


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
    """F1 over all samples and classes together; 1 where there was nothing to find and nothing was found. And the share
    of samples of which every label is right."""

    def __init__(self) -> None:
        self._right = self._either = self._whole = self._seen = 0

    @property
    def further(self) -> tuple[Figure, ...]:
        return (Figure("all labels right", self._whole / self._seen, True),)

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        found, wanted = outputs > 0, labels > 0.5
        self._whole += int((found == wanted).all(1).sum())
        self._seen += len(labels)
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
    def __init__(self, task: Multilabel) -> None:
        self._smoothing = task.label_smoothing

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if self._smoothing:
            labels = labels * (1 - self._smoothing) + self._smoothing / 2
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


class _Overlaps(MetricMeter):
    """The mean over classes of intersection over union, of classes that are somewhere or were found somewhere."""

    def __init__(self, ignored: int) -> None:
        self._ignored = ignored
        self._counts: Tensor | None = None

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        classes = outputs.shape[1]
        if self._counts is None:
            self._counts = torch.zeros(classes, classes, dtype=torch.int64)
        for output, label in zip(outputs, labels, strict=True):  # one by one: no copy of all of them
            counted = label != self._ignored
            pairs = label[counted] * classes + output.argmax(0)[counted]
            self._counts += torch.bincount(pairs, minlength=classes * classes).view(classes, classes).cpu()

    @property
    def value(self) -> float:
        assert self._counts is not None
        both = self._counts.diagonal()
        either = self._counts.sum(0) + self._counts.sum(1) - both
        return float((both[either > 0] / either[either > 0]).mean()) if bool(either.any()) else 1.0

    @property
    def further(self) -> tuple[Figure, ...]:
        assert self._counts is not None
        counted = int(self._counts.sum())
        return (Figure("pixel accuracy", int(self._counts.diagonal().sum()) / counted, True),) if counted else ()


_NEVER = -100
"""No label is this."""


class _Segmentation(Arithmetic):
    def __init__(self, task: Segmentation) -> None:
        self._ignored = _NEVER if task.ignore_index is None else task.ignore_index
        self._smoothing = task.label_smoothing

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if bool((labels != self._ignored).any()):
            return functional.cross_entropy(
                outputs, labels, ignore_index=self._ignored, label_smoothing=self._smoothing
            )
        return outputs.sum() * 0.0  # of no pixel at all the mean is not a number

    def examples(
        self, count: int, outputs: int, shape: tuple[int, ...], generator: torch.Generator | None = None
    ) -> Tensor:
        if generator is None:
            return torch.zeros(count, *shape[1:], dtype=torch.int64)
        return torch.randint(0, outputs, (count, *shape[1:]), generator=generator)

    def meter(self) -> MetricMeter:
        return _Overlaps(self._ignored)


class _Autoencoder(Arithmetic):
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(outputs, labels)

    def examples(
        self, count: int, outputs: int, shape: tuple[int, ...], generator: torch.Generator | None = None
    ) -> Tensor:
        if generator is None:
            return torch.zeros(count, *shape)
        return torch.rand(count, *shape, generator=generator)

    def meter(self) -> MetricMeter:
        return _MeanSquare()


def _next_loss(outputs: Tensor, labels: Tensor, reduction: str = "mean", smoothing: float = 0.0) -> Tensor:
    found, wanted = outputs[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return functional.cross_entropy(found, wanted, reduction=reduction, label_smoothing=smoothing)


class _Perplexity(MetricMeter):
    """e to the mean cross-entropy of all tokens but the first of each sample."""

    def __init__(self) -> None:
        self._sum, self._seen = 0.0, 0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        for at in range(len(labels)):  # one by one: no copy of all of them
            self._sum += float(_next_loss(outputs[at : at + 1].float(), labels[at : at + 1], "sum"))
        self._seen += labels[:, 1:].numel()

    @property
    def value(self) -> float:
        return math.exp(min(_MOST_NATS, self._sum / self._seen))


_MOST_NATS = 700.0
"""Beyond it a float has no exponential."""


class _NextToken(Arithmetic):
    def __init__(self, task: NextToken) -> None:
        self._smoothing = task.label_smoothing

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return _next_loss(outputs, labels, smoothing=self._smoothing)

    def examples(
        self, count: int, outputs: int, shape: tuple[int, ...], generator: torch.Generator | None = None
    ) -> Tensor:
        if generator is None:
            return torch.zeros(count, *shape, dtype=torch.int64)
        return torch.randint(0, outputs, (count, *shape), generator=generator)

    def meter(self) -> MetricMeter:
        return _Perplexity()


def make_arithmetic(task: AnyTask) -> Arithmetic:
    """What torch does for `task`."""
    match task:
        case Classification():
            return _Classification(task)
        case Regression():
            return _Regression(task)
        case Multilabel():
            return _Multilabel(task)
        case Segmentation():
            return _Segmentation(task)
        case Autoencoder():
            return _Autoencoder()
        case NextToken():
            return _NextToken(task)
