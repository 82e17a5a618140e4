"""Augmented passes in caches: what they take on storage and in time. That the best plan is found is the campaign's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import PlannerError
from planner.schema.request import Budget, Request, Training
from planner.solver.checker.check import check
from planner.solver.memory_model import live_bytes, time_ns
from planner.solver.plan import make_plan
from planner.solver.predict import predict_block
from planner.solver.problem import CLASSIFIER, BlockChoice
from tests.unit.solver.chains import SGD, zoo_profile
from tests.unit.solver.checked_plans import plan_of, problem_of, runs, signed
from tests.unit.solver.two_units import SGD as TINY_SGD
from tests.unit.solver.two_units import tiny_profile

PLAIN = Training(batch=2, epochs=3, samples=5, optimizer=TINY_SGD, freeze=1)
TWICE = replace(PLAIN, augment="crop", views=2)
CACHED = BlockChoice(1, 2, (2,), (CLASSIFIER,), source="cache")
"""The second of the two units, behind the frozen first one, which fills its cache."""


def test_every_view_is_written_and_one_is_read_in_an_epoch() -> None:
    once, twice = (problem_of(tiny_profile(), training=training) for training in (PLAIN, TWICE))
    # 10 records of 40 + 8 bytes at 2 MB/s, and 10 samples at 8 µs for two; an epoch reads 5 records at 1 MB/s.
    assert time_ns(twice, CACHED).finish == 240_000 + 40_000
    assert time_ns(twice, CACHED).epoch == time_ns(once, CACHED).epoch == 240_000
    assert twice.cache_bytes(1) == 2 * once.cache_bytes(1) == 10 * 48
    assert live_bytes(twice, CACHED) == live_bytes(once, CACHED)


def test_the_checker_counts_the_same_and_finds_views_left_out() -> None:
    problem = problem_of(tiny_profile(), training=TWICE)
    (run,) = runs(problem, CACHED)
    assert run.phases() == predict_block(problem, CACHED).peak_bytes_by_phase
    plan = plan_of(problem, CACHED)
    assert plan.predicted.cache_bytes == 480
    for change, said in (
        ({"cache_bytes": 240}, "cache_bytes is 240"),
        ({"seconds_total": 0.0}, "seconds_total is 0.0"),
    ):
        wrong = replace(plan, predicted=replace(plan.predicted, **change))
        with pytest.raises(PlannerError, match=said):
            check(signed(wrong), problem.profile)


def test_where_views_do_not_fit_the_storage_images_run_through_again() -> None:
    profile = zoo_profile("cnn6", (1, 4, 16, 64))
    training = Training(64, 4, 5000, SGD, augment="crop-flip", views=1)
    request = Request(Budget(2**40, "process"), training, strategy="neuroflux", prefer="speed")
    plan = make_plan(
        profile, replace(request, budget=Budget(make_plan(profile, request).minimum_budget_bytes, "process"))
    )
    stored = plan.predicted.cache_bytes
    assert stored > 0
    four = replace(request, training=replace(training, views=4), budget=plan.budget)
    assert make_plan(profile, four).predicted.cache_bytes == 4 * stored
    auto = replace(four, strategy="auto", storage_bytes=stored)
    less = make_plan(profile, replace(auto, budget=Budget(plan.budget.bytes + 2**22, "process")))
    assert less.predicted.cache_bytes <= stored


def test_views_that_nobody_would_read_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^views is 2; it is 1 where augment is none: every pass is the same$"):
        replace(PLAIN, views=2)
    for views in (0, 4):
        with pytest.raises(ValueError, match=rf"^views is {views}; it must lie between 1 and the epochs, 3"):
            replace(TWICE, views=views)
