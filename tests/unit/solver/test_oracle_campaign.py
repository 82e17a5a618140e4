"""The search against brute force on many small problems: best time for every number of cuts, and least budget."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import HealthCheck, given, seed, settings

from planner.errors import InfeasibleError
from planner.schema.plan import Plan
from planner.solver.plan import least_memory, make_plan
from tests.unit.solver.oracle import Feature
from tests.unit.solver.requests import Asked, questions

QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
FEATURES: tuple[Feature, ...] = ("spans", "stepping", "cache", "prefix", "fill")


def _agrees(asked: Asked, budget: int) -> None:
    frontier = asked.frontier(budget)
    for most_cuts in (*range(asked.most_cuts), None):
        _agrees_on_cuts(asked, budget, frontier, most_cuts)
    _agrees_on_least(asked)


def _agrees_on_cuts(asked: Asked, budget: int, frontier: dict[int, int], most_cuts: int | None) -> None:
    request = replace(asked.request(budget), max_cuts=most_cuts)
    least = asked.least(most_cuts)
    assert least_memory(asked.case.profile, request) == least
    allowed = {segments: time for segments, time in frontier.items() if most_cuts is None or segments <= most_cuts + 1}
    assert bool(allowed) == (least <= budget)
    if allowed:
        plan = make_plan(asked.case.profile, request)
        assert plan.minimum_budget_bytes == least
        _is_fastest(asked, plan, allowed)
        _fits(asked, plan)
    else:
        with pytest.raises(InfeasibleError) as caught:
            make_plan(asked.case.profile, request)
        _says_why(asked, budget, most_cuts, caught.value)


def _is_fastest(asked: Asked, plan: Plan, frontier: dict[int, int]) -> None:
    """Another strategy's plan may win from outside the space.

    By heads that are wider than preferred and take less time, fewer bytes or fewer samples (batch normalisation), or
    narrower where those do not fit.
    """
    chosen = asked.settings(plan)
    time = sum(setting.time_ns for setting in chosen)
    assert plan.predicted.seconds_total == time / 1e9
    best = min(frontier.values())
    oracle = asked.oracles[plan.allocator]
    if all(oracle.has_filters(setting) for setting in chosen):
        assert time == best
    else:
        assert time < best
        assert (
            not oracle.rising()
            or any(oracle.has_narrower_head(setting) for setting in chosen)
            or not _would_train(asked, plan)
        )


def _would_train(asked: Asked, plan: Plan) -> bool:
    """Whether the plan has samples enough and fits with heads as wide as preferred."""
    oracle = asked.oracles[plan.allocator]
    preferring = [oracle.preferring(setting) for setting in asked.settings(plan)]
    live = max(setting.live_bytes for setting in preferring)
    fits = oracle.budget(live, asked.case.scope, asked.case.reserve_bytes) <= plan.budget.bytes
    return fits and all(oracle.has_enough_samples(setting) for setting in preferring)


def _fits(asked: Asked, plan: Plan) -> None:
    oracle, live = asked.oracles[plan.allocator], max(setting.live_bytes for setting in asked.settings(plan))
    assert plan.predicted.peak_bytes == oracle.resident(live, asked.case.scope)
    assert oracle.budget(live, asked.case.scope, asked.case.reserve_bytes) <= plan.budget.bytes
    for setting in asked.settings(plan):
        assert all(oracle.may_be_segment(*segment) for segment in pairwise((setting.span[0], *setting.ends)))
        joint = setting.span, setting.source, setting.caches
        assert asked.storage_bytes is None or oracle.stored(joint) <= asked.storage_bytes


def _says_why(asked: Asked, budget: int, most_cuts: int | None, error: InfeasibleError) -> None:
    if asked.stored(None).least(most_cuts) > budget:
        assert "storage" not in error.term
        assert error.minimum_bytes == asked.least(most_cuts)
    else:
        assert "storage" in error.term
        assert asked.stored(error.minimum_bytes).least(most_cuts) <= budget
        assert asked.stored(error.minimum_bytes - 1).least(most_cuts) > budget


def _agrees_on_least(asked: Asked) -> None:
    least = asked.least()
    plan = make_plan(asked.case.profile, asked.request(least))
    assert plan.predicted.peak_bytes <= least - asked.case.reserve_bytes
    _is_fastest(asked, plan, asked.frontier(least))
    with pytest.raises(InfeasibleError):
        make_plan(asked.case.profile, asked.request(least - 1))


@seed(1)
@settings(max_examples=100, suppress_health_check=QUIET, database=None)
@given(questions())
def test_agrees_with_brute_force(question: tuple[Asked, int]) -> None:
    _agrees(*question)


@pytest.mark.long
@seed(2)
@settings(max_examples=10_000, suppress_health_check=QUIET, database=None)
@given(questions())
def test_agrees_with_brute_force_at_length(question: tuple[Asked, int]) -> None:
    _agrees(*question)


def test_everything_wins_somewhere() -> None:
    """Among the problems are some whose optimum, and some whose smallest budget, needs what a plan may do."""
    won: Counter[tuple[str, str]] = Counter()

    @seed(1)
    @settings(max_examples=200, suppress_health_check=QUIET, database=None)
    @given(questions())
    def look(question: tuple[Asked, int]) -> None:
        asked, budget = question
        fastest, least = _fastest(asked, budget), asked.least()
        for name, other in _others(asked).items():
            won["time", name] += _fastest(other, budget) > fastest
            won["bytes", name] += other.least() > least

    look()
    assert all(won[what, name] > 0 for what in ("time", "bytes") for name in (*FEATURES, "fast", "tight")), won


def _fastest(asked: Asked, budget: int) -> float:
    return min(asked.frontier(budget).values(), default=inf)


def _others(asked: Asked) -> dict[str, Asked]:
    """The same question where something is not to be had."""
    found: dict[str, Asked] = {name: replace(asked, without=frozenset((name,))) for name in FEATURES}
    if len(asked.oracles) == 2:
        found |= {"fast": replace(asked, allocator="tight"), "tight": replace(asked, allocator="fast")}
    return found
