"""The share of samples that are right: over how many it was taken, and between which bounds the true one lies."""

from __future__ import annotations

from math import sqrt

from planner.tasks.base import Metric

_Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

_WIDE = 0.02
"""An interval that is wider is shown: then the first digit behind the point says nothing."""

_FEW = 100
"""Below so many samples one of them is a point or more, and they are counted instead."""

_MANY = 10_000
"""From so many samples on a second digit behind the point is shown."""


def wilson(accuracy: float, samples: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share that was measured (Wilson's score interval).

    It lies within 0 and 1 and is right for few samples too, where the usual ± of the normal distribution is not: one
    sample that is wrong says no more than that the accuracy is below 79 %.

    Args:
        accuracy: share of the samples that are right, from 0 to 1.
        samples: how many there were, at least 1.

    Returns:
        Lower and upper bound, each from 0 to 1.
    """
    square = _Z * _Z / samples
    middle = (accuracy + square / 2) / (1 + square)
    half = _Z / (1 + square) * sqrt(accuracy * (1 - accuracy) / samples + square / (4 * samples))
    # At 0 and at 1 one bound is the share itself, whatever the sums round to.
    return min(accuracy, max(0.0, middle - half)), max(accuracy, min(1.0, middle + half))


class Accuracy(Metric):
    """A share from 0 to 1, told in per cent; of few samples, which are a point each or more, counted."""

    name = "accuracy"
    points = 100.0

    def interval(self, value: float, samples: int) -> tuple[float, float]:
        return wilson(value, samples)

    def cell(self, value: float, samples: int | None) -> str:
        """`81.2%`, and `3/4` of few samples."""
        return f"{value:.1%}" if samples is None or samples >= _FEW else f"{round(value * samples)}/{samples}"

    def share(self, value: float, samples: int | None) -> str:
        """`81.2% of 1,000`, `3 of 4`; `81.2%` where nobody has told of how many."""
        if samples is None:
            return f"{value:.1%}"
        if samples < _FEW:
            return f"{round(value * samples)} of {samples}"
        return f"{value:.{2 if samples >= _MANY else 1}%} of {samples:,}"

    def sentence(self, value: float, samples: int | None) -> str:
        """`81.2% of 1,000 test samples`, and the interval where it is wider than two points."""
        if samples is None:
            return f"{value:.1%} of test samples"
        message = f"{self.share(value, samples)} test {'sample' if samples == 1 else 'samples'}"
        low, high = wilson(value, samples)
        return f"{message} (95% interval: {low:.1%} to {high:.1%})" if high - low > _WIDE else message


class Share(Metric):
    """A number from 0 to 1 that is told in per cent and of which no interval is known, as F1."""

    points = 100.0

    def __init__(self, name: str) -> None:
        self.name = name

    def cell(self, value: float, samples: int | None) -> str:
        """`81.2%`."""
        return f"{value:.1%}"

    def share(self, value: float, samples: int | None) -> str:
        """`81.2% on 1,000 samples`."""
        if samples is None:
            return f"{value:.1%}"
        return f"{value:.1%} on {samples:,} {'sample' if samples == 1 else 'samples'}"

    def sentence(self, value: float, samples: int | None) -> str:
        """`81.2% on 1,000 test samples`."""
        if samples is None:
            return f"{value:.1%} on test samples"
        return f"{value:.1%} on {samples:,} test {'sample' if samples == 1 else 'samples'}"
