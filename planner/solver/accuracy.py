"""What cuts cost in accuracy, predicted by a model that was fitted on a campaign of training runs (docs/accuracy.md).

It is as simple as few runs allow: a figure for every kind of head, and how the loss grows with the number of segments.
So of plans that have the same kind of head at their cuts the one with fewer cuts loses less, and a bound on what is
lost is one on cuts. It knows no data: on harder data than the campaign's more is lost.
"""

from __future__ import annotations

from functools import lru_cache
from math import log2

from planner.errors import InputError
from planner.schema.model import Model
from planner.schema.prediction import LossPoints
from planner.schema.request import Request
from planner.solver import accuracy_figures as figures

_DIGITS = 2
_MOST_CLASSES = 20
"""Data sets of more classes are unlike the campaign's, which has ten."""


class LossModel:
    """Points that plans for a model and a request lose to backpropagation, by how many segments they have."""

    def __init__(self, model: Model, request: Request) -> None:
        self._metric = model.task.metric
        self._kind = request.head or "pooled-conv"
        self._guess = _unlike(model, request, self._kind)
        self.of = lru_cache(maxsize=None)(self._of)

    def _of(self, segments: int) -> LossPoints | None:
        """Of so many segments; none where the task's metric is no share."""
        if not self._metric.is_share:
            return None
        if segments == 1:
            return LossPoints(0.0, 0.0, 0.0)
        expected = figures.POINTS[self._kind] * log2(segments) ** figures.EXPONENT
        spread = figures.SPREAD_SHARE * expected + figures.SPREAD_POINTS
        spread *= figures.GUESS_FACTOR if self._guess else 1
        low, high = expected - spread, expected + spread
        return LossPoints(round(expected, _DIGITS), round(low, _DIGITS), round(high, _DIGITS), self._guess)

    def most_segments(self, points: float, count: int) -> int:
        """Most segments, of at most `count`, that lose no more than so many points. Raises InputError where nothing is
        known of what is lost."""
        if not self._metric.is_share:
            raise InputError(
                f"max_accuracy_loss is {points:g}, but this network's metric is {self._metric.name}, no share: nothing "
                "is known of what cuts cost it; limit cuts (max_cuts) instead"
            )
        found = 1
        while found < count and self._expected(found + 1) <= points:
            found += 1
        return found

    def _expected(self, segments: int) -> float:
        loss = self.of(segments)
        assert loss is not None
        return loss.expected


def _unlike(model: Model, request: Request, kind: str) -> str:
    """In what a network differs from all of the campaign; empty: there is the like."""
    reasons = []
    extracting = sum(unit.extracts_features for unit in model.units[request.training.freeze :])
    fewest, most = figures.UNITS
    if model.task.kind != "classification" or len(model.input) != 3:
        reasons.append("the campaign classified images")
    elif model.classes > _MOST_CLASSES:
        reasons.append(f"its images were of 10 classes, not of {model.classes}")
    if not fewest <= extracting <= most:
        reasons.append(f"its networks had {fewest} to {most} units to train that extract features, not {extracting}")
    if request.training.freeze:
        reasons.append("it began with random weights")
    if request.training.early_epochs is not None:
        reasons.append("its blocks were all trained for all epochs")
    if request.training.polish or request.overlap:
        reasons.append("nothing of it was polished or overlapped, which lose less")
    if kind not in figures.MEASURED_KINDS:
        reasons.append(f"it had no {kind} heads")
    return "; ".join(reasons)
