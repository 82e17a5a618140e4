"""What a budget buys: the fastest plan at budgets from the smallest feasible one to where more is of no use.

Under `speed` a plan made for one budget is the best of every budget down to the smallest in which it still fits. So one
solve settles a stretch of budgets, and the next one is spent in the middle of the gap that hides most: the largest
product of what time falls by across it and its width (in logarithms). With more budget NeuroFlux's rule can get slower:
such plans are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import hypot, isqrt, log

from planner.limits import MAX_BYTES
from planner.schema.explain import Point, point_of
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Request
from planner.solver.plan import make_plan

MAX_SOLVES = 16
"""Plans made for one frontier."""

_FINE = 0.01
"""A gap narrower than this share of its budget, or with less of the whole fall in time, is left alone."""

_KNEE = 0.05
"""Least distance of a knee from its chord, where both axes run from 0 to 1."""


@dataclass(frozen=True)
class _Solved:
    """A budget and the plan made for it: the best from the point's own budget up to this one."""

    budget: int
    point: Point


def frontier(profile: Profile, request: Request, solves: int = MAX_SOLVES) -> tuple[Point, ...]:
    """The fastest plans by rising budget, each faster than the one before; the request's own budget plays no part.

    The first is the plan at the smallest feasible budget, the last one needs no more than the device has. At most
    `solves` plans are made (two at least), so steps of little worth may be missing. Raises InfeasibleError where
    nothing fits the device.
    """
    largest = make_plan(profile, _at(request, profile.device.total_bytes or MAX_BYTES))
    least = largest.minimum_budget_bytes
    solved = [_solve(profile, request, least), _Solved(largest.budget.bytes, point_of(largest))]
    whole = solved[0].point.seconds_total - solved[1].point.seconds_total
    while len(solved) < solves:
        worth, middle = max(_gap(low, high, whole) for low, high in pairwise(solved))
        if not worth:
            break
        solved.append(_solve(profile, request, middle))
        solved.sort(key=lambda one: one.budget)
    return _improving([one.point for one in solved])


def _at(request: Request, budget: int) -> Request:
    return replace(request, prefer="speed", budget=replace(request.budget, bytes=budget))


def _solve(profile: Profile, request: Request, budget: int) -> _Solved:
    return _Solved(budget, point_of(make_plan(profile, _at(request, budget))))


def _gap(low: _Solved, high: _Solved, whole: float) -> tuple[float, int]:
    """What may hide between two solved budgets, and the budget in their middle."""
    fall = low.point.seconds_total - high.point.seconds_total
    first, last = low.budget, high.point.budget_bytes
    if fall <= _FINE * whole or last <= first * (1 + _FINE):
        return 0.0, first
    return fall * log(last / first), isqrt(first * last)


def _improving(points: list[Point]) -> tuple[Point, ...]:
    """Those that are faster than everything that fits a smaller budget."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.budget_bytes, one.seconds_total)):
        if not found or point.seconds_total < found[-1].seconds_total:
            found.append(point)
    return tuple(found)


def knees(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The points of a frontier where its slope changes most: a little less is much slower, more gains little.

    The rule: the logarithm of the budget and the time both run from 0 to 1 over the frontier. The point farthest from
    the chord between the ends, if it is at least 0.05 away, parts the frontier in two, and both parts are looked at in
    the same way. Every such point below its chord is a knee.
    """
    if len(points) < 3:
        return ()
    first, last = points[0], points[-1]
    width, height = log(last.budget_bytes / first.budget_bytes), first.seconds_total - last.seconds_total
    plane = [
        (log(point.budget_bytes / first.budget_bytes) / width, (point.seconds_total - last.seconds_total) / height)
        for point in points
    ]
    return tuple(points[index] for index in _bends(plane, 0, len(plane) - 1))


def _bends(plane: list[tuple[float, float]], first: int, last: int) -> list[int]:
    """Indices of knees strictly between two of the points, rising."""
    if last - first < 2:
        return []
    depths = [_depth(plane[index], plane[first], plane[last]) for index in range(first + 1, last)]
    farthest = max(range(len(depths)), key=lambda index: abs(depths[index]))
    if abs(depths[farthest]) < _KNEE:
        return []
    index = first + 1 + farthest
    own = [index] if depths[farthest] > 0 else []
    return [*_bends(plane, first, index), *own, *_bends(plane, index, last)]


def _depth(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """Distance from the chord; positive below it."""
    across, down = end[0] - start[0], start[1] - end[1]
    return ((start[1] - point[1]) * across - (point[0] - start[0]) * down) / hypot(across, down)


def more_budget(profile: Profile, request: Request, plan: Plan) -> Point | None:
    """What the same request gets for 10 % more budget; none where that is neither another time nor other cuts."""
    larger = min(request.budget.bytes * 11 // 10, MAX_BYTES)
    found = make_plan(profile, replace(request, budget=replace(request.budget, bytes=larger)))
    same = (found.predicted.seconds_total, found.cuts) == (plan.predicted.seconds_total, plan.cuts)
    return None if same else point_of(found)
