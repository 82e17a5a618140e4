"""What cuts cost in accuracy, predicted by a model that was fitted on a campaign of training runs (docs/accuracy.md).

It is as simple as few runs allow: a figure for every kind of head, how the loss grows with the number of segments, and
what share of it a window at every cut spares. So of plans that have the same kind of head at their cuts, and windows
alike, the one with fewer cuts loses less, and a bound on what is lost is one on cuts. It knows no data: on harder data
than the campaign's more is lost.
"""

from __future__ import annotations

from functools import lru_cache
from math import log2

from planner.errors import InputError
from planner.heads.base import HeadKind
from planner.schema.model import Model
from planner.schema.prediction import LossPoints
from planner.schema.request import Request
from planner.solver import accuracy_figures as figures
from planner.solver.request import settled

_DIGITS = 2
_MOST_CLASSES = 20
"""Data sets of more classes are unlike the campaign's, which has ten."""


class LossModel:
    """Points that plans for a model and a request lose to backpropagation, by how many segments they have."""

    def __init__(self, model: Model, request: Request) -> None:
        """`request` leaves no kind of head open."""
        self._metric = model.task.metric
        self._kind: HeadKind = settled(request)[0] or "pooled-conv"
        self._unlike = _unlike(model, request, self._kind)
        self.of = lru_cache(maxsize=None)(self._of)

    def points(self, segments: int, windows: int) -> float:
        """What so many segments lose, of whose cuts so many have a window; by it plans are ranked, whatever the metric.

        It rises with segments as long as all of their cuts have a window, or none has.
        """
        if segments == 1:
            return 0.0
        whole: float = figures.POINTS[self._kind] * log2(segments) ** figures.EXPONENT
        return whole * (1 - figures.WINDOWS_SPARE * windows / (segments - 1))

    def _of(self, segments: int, windows: int = 0) -> LossPoints | None:
        """Of so many segments and windows; none where the task's metric is no share."""
        if not self._metric.is_share:
            return None
        if segments == 1:
            return LossPoints(0.0, 0.0, 0.0)
        expected = self.points(segments, windows)
        reasons = [*self._unlike, *(["nothing of it overlapped"] if windows and not figures.WINDOWS_MEASURED else [])]
        spread = figures.SPREAD_SHARE * expected + figures.SPREAD_POINTS
        spread *= figures.GUESS_FACTOR if reasons else 1
        low, high = expected - spread, expected + spread
        return LossPoints(round(expected, _DIGITS), round(low, _DIGITS), round(high, _DIGITS), "; ".join(reasons))

    def most_segments(self, points: float, count: int, without: int | None = None) -> int:
        """Most segments, of at most `count`, that lose no more than so many points, wherever they are cut.

        `without`: at how many places a cut has no window; none: nowhere has a cut one. Raises InputError where nothing
        is known of what is lost.
        """
        if not self._metric.is_share:
            raise InputError(
                f"max_accuracy_loss is {points:g}, but this network's metric is {self._metric.name}, no share: nothing "
                "is known of what cuts cost it; limit cuts (max_cuts) instead"
            )
        found = 1
        while found < count and self._at_most(found + 1, without) <= points:
            found += 1
        return found

    def _at_most(self, segments: int, without: int | None) -> float:
        windows = 0 if without is None else max(0, segments - 1 - without)
        return round(self.points(segments, windows), _DIGITS)


def _unlike(model: Model, request: Request, kind: HeadKind) -> tuple[str, ...]:
    """In what a network differs from all of the campaign; nothing: there is the like."""
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
    if request.training.polish:
        reasons.append("nothing of it was polished, which loses less")
    if kind not in figures.MEASURED_KINDS:
        reasons.append(f"it had no {kind} heads")
    return tuple(reasons)
