"""What a budget buys: against make_plan at single budgets, and knees of curves drawn by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from planner.errors import InfeasibleError
from planner.schema.explain import Point, point_of
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.explain import frontier as module
from planner.solver.explain.frontier import MAX_SOLVES, frontier, knees, more_budget
from planner.solver.plan import least_memory, make_plan
from tests.unit.solver.chains import SGD, zoo_profile
from tests.unit.solver.two_units import SGD as TINY_SGD
from tests.unit.solver.two_units import tiny_profile

REQUEST = Request(Budget(1, "process"), Training(batch=64, epochs=2, samples=5000, optimizer=SGD), head_time_share=0.0)
"""No time for wider heads: then a larger budget is never slower."""
TINY = Request(
    Budget(1, "training"),
    Training(batch=4, epochs=2, samples=40, optimizer=TINY_SGD),
    reserve_bytes=30,
    head_time_share=0.0,
)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return zoo_profile("cnn6", (1, 4, 16, 64))


def at(request: Request, budget: int) -> Request:
    return replace(request, budget=replace(request.budget, bytes=budget))


def seconds(profile: Profile, request: Request, budget: int) -> float:
    """The fastest plan's time; endless where nothing fits."""
    try:
        return make_plan(profile, replace(at(request, budget), prefer="speed")).predicted.seconds_total
    except InfeasibleError:
        return float("inf")


def test_every_point_is_the_fastest_plan_of_its_budget_and_fits_no_smaller_one(profile: Profile) -> None:
    points = frontier(profile, REQUEST)
    assert len(points) > 3
    for point in points:
        assert seconds(profile, REQUEST, point.budget_bytes) == point.seconds_total
        # Another plan may take the same time and less memory: of equals, the one without an optimizer in backward wins.
        assert point.budget_bytes == point.peak_bytes + REQUEST.reserve_bytes
        assert seconds(profile, REQUEST, point.budget_bytes - 1) >= point.seconds_total


def test_it_runs_from_the_smallest_budget_to_where_more_is_of_no_use(profile: Profile) -> None:
    points = frontier(profile, REQUEST)
    assert points[0].budget_bytes == least_memory(profile, REQUEST)
    assert points[-1].seconds_total == seconds(profile, REQUEST, profile.device.total_bytes)


@pytest.mark.parametrize("strategy", ["auto", "backprop", "neuroflux"])
def test_every_point_costs_more_and_is_faster(profile: Profile, strategy: Any) -> None:
    points = frontier(profile, replace(REQUEST, strategy=strategy, head_time_share=0.05))
    for less, more in pairwise(points):
        assert less.budget_bytes < more.budget_bytes
        assert less.seconds_total > more.seconds_total
    assert set(knees(points)) <= set(points)
    assert {point.strategy for point in points} == {strategy}


def test_a_tiny_frontier_is_that_of_every_single_budget() -> None:
    """All budgets at which the time falls, from below the smallest to where nothing changes any more.

    Between two of equal time there is no other: more memory is never slower (`search/test_search.py`).
    """
    profile = tiny_profile()
    points = frontier(profile, TINY, solves=200)
    first, last = points[0].budget_bytes - 1, points[-1].budget_bytes + 1
    steps = [(first, seconds(profile, TINY, first))]
    open_ranges = [(steps[0], (last, seconds(profile, TINY, last)))]
    while open_ranges:
        low, high = open_ranges.pop()
        if low[1] == high[1]:
            continue
        if low[0] + 1 == high[0]:
            steps.append(high)
            continue
        middle = (low[0] + high[0]) // 2
        found = middle, seconds(profile, TINY, middle)
        open_ranges += [(found, high), (low, found)]
    assert steps[0] == (points[0].budget_bytes - 1, float("inf"))
    known = [(point.budget_bytes, point.seconds_total) for point in points]
    assert known[0] == steps[1] and known[-1] == steps[-1]
    assert set(known) <= set(steps)
    # What is left out lies in a gap of one percent of the budget, or of the fall in time.
    whole = known[0][1] - known[-1][1]
    for budget, time in set(steps[1:]) - set(known):
        below = max(point for point in known if point[0] < budget)
        above = min(point for point in known if point[0] > budget)
        assert below[1] - above[1] <= whole / 100 or above[0] <= below[0] * 1.05, (budget, time)


@pytest.mark.parametrize("solves", [2, 3, MAX_SOLVES])
def test_no_more_plans_are_made_than_allowed(profile: Profile, monkeypatch: pytest.MonkeyPatch, solves: int) -> None:
    made: list[Request] = []

    def counted(profile: Profile, request: Request) -> Any:
        made.append(request)
        return make_plan(profile, request)

    monkeypatch.setattr(module, "make_plan", counted)
    points = frontier(profile, REQUEST, solves)
    assert 2 <= len(made) <= solves
    assert 2 <= len(points) <= len(made)
    assert {request.prefer for request in made} == {"speed"}


def test_it_ends_at_what_the_device_has(profile: Profile) -> None:
    whole = frontier(profile, REQUEST)
    memory = (whole[0].budget_bytes + whole[-1].budget_bytes) // 2
    small = replace(profile, device=replace(profile.device, total_bytes=memory))
    points = frontier(small, REQUEST)
    assert points[0] == whole[0]
    assert points[-1].budget_bytes <= memory
    assert points[-1].seconds_total == seconds(profile, REQUEST, memory) > whole[-1].seconds_total


def test_a_device_of_unknown_size_bounds_nothing(profile: Profile) -> None:
    unknown = replace(profile, device=replace(profile.device, total_bytes=0))
    assert frontier(unknown, REQUEST, 2)[-1].seconds_total == seconds(profile, REQUEST, 2**40)


def test_a_point_says_what_its_plan_is(profile: Profile) -> None:
    plan = make_plan(profile, at(REQUEST, least_memory(profile, REQUEST)))
    point = point_of(plan)
    assert point.budget_bytes == plan.budget.bytes
    assert (point.cuts, point.blocks, point.allocator) == (plan.cuts, len(plan.blocks), "tight")
    first = plan.blocks[0]
    whole = replace(first.segments[-1], recompute=(first.segments[-1].units,))
    recomputed = replace(plan, blocks=(replace(first, segments=(*first.segments[:-1], whole)), *plan.blocks[1:]))
    before = sum(last - start for start, last in first.segments[-1].recompute)
    units = whole.units[1] - whole.units[0]
    assert point_of(recomputed).recomputed == point.recomputed - before + units


def test_the_budget_of_a_point_covers_the_start(profile: Profile) -> None:
    """Where starting takes more than training, the smallest budget is what starting takes, and its reserve."""
    heavy = replace(profile, runtime=replace(profile.runtime, start_peak_bytes=2**31))
    plan = make_plan(heavy, at(REQUEST, 2**33))
    assert point_of(plan).budget_bytes == 2**31 + profile.runtime.supervisor_bytes + REQUEST.reserve_bytes
    assert len(frontier(heavy, REQUEST)) == 1


def drawn(*places: tuple[float, float]) -> tuple[Point, ...]:
    """Points by the power of two of their budget, and their time."""
    return tuple(Point(round(2**power * 1024), time, 0, "auto", "tight", 1, 0, 0, 0) for power, time in places)


@pytest.mark.parametrize(
    ("places", "found"),
    [
        (((0, 10.0), (4, 1.0)), []),
        (((0, 9.0),), []),
        # On the chord, and 0.02 of the square below it.
        (((0, 10.0), (5, 5.0), (10, 0.0)), []),
        (((0, 10.0), (5, 4.8), (10, 0.0)), []),
        # An elbow; what follows it is straight.
        (((0, 10.0), (1, 2.0), (4, 1.5), (10, 0.5)), [1]),
        # Above the chord there is no knee.
        (((0, 10.0), (5, 9.0), (10, 0.0)), []),
        # Two falls with a plateau between them: a knee behind each.
        (((0, 20.0), (1, 11.0), (5, 10.0), (6, 1.0), (10, 0.0)), [1, 3]),
    ],
)
def test_knees_lie_far_below_their_chord(places: tuple[tuple[float, float], ...], found: list[int]) -> None:
    points = drawn(*places)
    assert [points.index(knee) for knee in knees(points)] == found


def test_more_budget_is_the_plan_for_ten_percent_more(profile: Profile) -> None:
    request = at(REQUEST, least_memory(profile, REQUEST))
    plan = make_plan(profile, request)
    larger = make_plan(profile, at(request, plan.budget.bytes * 11 // 10))
    assert larger.predicted.seconds_total < plan.predicted.seconds_total
    assert more_budget(profile, request, plan) == point_of(larger)


def test_more_budget_is_of_no_use_where_there_is_enough(profile: Profile) -> None:
    request = at(REQUEST, 2**33)
    assert more_budget(profile, request, make_plan(profile, request)) is None


def test_the_largest_budget_of_all_has_no_more(profile: Profile) -> None:
    request = at(REQUEST, 2**63 - 1)
    assert more_budget(profile, request, make_plan(profile, request)) is None
