"""Lost accuracy computed again, from the plan alone: the fitted figures are shared, the arithmetic is not."""

from __future__ import annotations

import math

from planner.schema.plan import Plan
from planner.schema.prediction import LossPoints
from planner.solver.accuracy_figures import (
    EXPONENT,
    GUESS_FACTOR,
    POINTS,
    SPREAD_POINTS,
    SPREAD_SHARE,
    WINDOWS_SPARE,
)

_ROUNDED = 0.0051
"""Predictions have two digits."""


def loss_faults(plan: Plan) -> list[str]:
    """What is wrong with the accuracy that a plan says it loses, and with what it was allowed to lose."""
    stated, metric = plan.predicted.accuracy_loss_points, plan.model.task.metric
    allowed = None if plan.request is None else plan.request.max_accuracy_loss
    if stated is None or metric.points != 100 or not metric.higher_is_better:
        holds = stated is None and allowed is None and not (metric.points == 100 and metric.higher_is_better)
        return [] if holds else [f"predicted.accuracy_loss_points is {stated} with the metric {metric.name}"]
    faults = []
    bounds, computed = (stated.low, stated.expected, stated.high), _bounds(plan, stated)
    if any(abs(one - other) > _ROUNDED for one, other in zip(bounds, computed, strict=True)):
        faults.append(f"predicted.accuracy_loss_points is {bounds}, computed {computed}")
    if allowed is not None and computed[1] > allowed + _ROUNDED:
        faults.append(f"{computed[1]:.3f} points lost ≤ max_accuracy_loss {allowed} does not hold")
    return faults


def _bounds(plan: Plan, stated: LossPoints) -> tuple[float, float, float]:
    """What is lost at least, most likely, and at most."""
    cutting = [segment for block in plan.blocks for segment in block.segments if segment.head is not None]
    heads = [segment.head for segment in cutting if segment.head is not None]
    if not heads:
        return 0.0, 0.0, 0.0
    once = max(POINTS[head.asked_as or "pooled-conv"] for head in heads)
    spared = sum(segment.window for segment in cutting) / len(cutting) * WINDOWS_SPARE
    expected = (once - once * spared) * math.pow(math.log(len(heads) + 1, 2), EXPONENT)
    width = (expected * SPREAD_SHARE + SPREAD_POINTS) * (GUESS_FACTOR if stated.guess else 1)
    return expected - width, expected, expected + width
