"""What processes take around a block, and what a budget leaves for it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Scope, Training
from planner.schema.runtime import Finishing, UnitFinishing
from planner.solver.problem import Problem
from planner.solver.process_memory import Phase
from tests.unit.solver.two_units import SGD, tiny_profile


def _problem(batch: int = 2, scope: Scope = "process", profile: Profile | None = None) -> Problem:
    training = Training(batch=batch, epochs=1, samples=4, optimizer=SGD)
    return Problem(profile or tiny_profile(), Request(Budget(1, scope), training, reserve_bytes=100))


def _with_runtime(**changes: Any) -> Profile:
    profile = tiny_profile()
    return replace(profile, runtime=replace(profile.runtime, **changes))


@given(st.integers(0, 10**9), st.sampled_from(("process", "training")))
def test_live_limit_is_the_most_that_fits(budget: int, scope: Scope) -> None:
    problem = _problem(scope=scope)
    limit = problem.process.live_limit(budget)
    if limit >= 0:
        assert problem.process.budget_for(limit) <= budget
    assert problem.process.budget_for(max(limit + 1, 0)) > budget


@pytest.mark.parametrize(("micro_batch", "expected"), [(1, 0), (2, 0), (3, 34), (4, 67), (5, 100), (8, 100)])
def test_libraries_hold_more_at_larger_micro_batches(micro_batch: int, expected: int) -> None:
    profile = _with_runtime(small_micro_batch=2, large_micro_batch=5, growing_bytes=100)
    assert _problem(profile=profile).process.kernel_bytes(micro_batch) == expected


def test_kernels_of_earlier_blocks_stay_however_small_the_micro_batch() -> None:
    """They may have been made for the whole batch. By unit where that was measured, else all units alike."""
    changes: dict[str, Any] = {"small_micro_batch": 2, "large_micro_batch": 5, "growing_bytes": 100}
    units = (UnitFinishing(0, 0, kernel_bytes=30), UnitFinishing(0, 0, kernel_bytes=10))
    by_unit = Finishing(0, 0, 0, 0, units=units)
    for finishing, share in ((None, Fraction(1, 2)), (by_unit, Fraction(3, 4))):
        process = _problem(4, profile=_with_runtime(**changes, finishing=finishing)).process
        assert [process.kernel_bytes(size, 0) for size in (2, 3, 4)] == [0, 34, 67]
        assert process.kernel_bytes(2, 1) == ceil(67 * share)
        assert process.kernel_bytes(3, 1) == 34 + ceil(33 * share)
        assert process.kernel_bytes(4, 1) == 67


def test_nothing_grows_where_nothing_was_seen_to() -> None:
    assert _problem().process.kernel_bytes(8) == 0


def test_what_a_run_holds_beyond_its_steps_is_resident() -> None:
    less, more = _problem(), _problem(profile=_with_runtime(run_bytes=77))
    assert more.process.resident(1000) - less.process.resident(1000) == 77
    assert less.process.live_limit(10_000) > more.process.live_limit(10_000)


def test_a_pass_through_some_units_is_charged_with_theirs_alone() -> None:
    whole = Finishing(pass_bytes=900, heads_bytes=950, fit_bytes=990, still_bytes=500)
    alone = (UnitFinishing(10, 20), UnitFinishing(30, 300, kernel_bytes=7))
    by_unit = replace(whole, common_bytes=600, common_heads_bytes=640, units=alone)
    some, every = (
        _problem(profile=_with_runtime(baseline_bytes=800, overhead_bytes=10_000, run_bytes=0, finishing=found))
        for found in (by_unit, whole)
    )
    level = every.process.resident_behind(0, "pass", range(2)) - 900
    # Where the first unit runs by itself the second has made no kernels yet.
    assert some.process.resident_behind(0, "pass", range(1)) == 600 + 10 - 7 + level
    assert some.process.resident_behind(0, "pass", range(2)) == 600 + 10 + 30 + level
    assert some.process.resident_behind(0, "heads", range(1)) == 640 + 20 - 7 + level
    # Never more than what all units together were seen to take, and nothing else changes.
    assert some.process.resident_behind(0, "heads", range(2)) == 950 + level
    others: tuple[tuple[Phase, int], ...] = (("fit", 990), ("still", 500))
    for phase, taken in others:
        assert every.process.resident_behind(0, phase, range(1)) == taken + level
        assert some.process.resident_behind(0, phase, range(1)) == taken - 7 + level
        assert some.process.resident_behind(0, phase, range(2)) == taken + level


def test_a_budget_holds_the_start_of_the_processes_and_the_reserve() -> None:
    """1500 and 200 bytes to start; 100 in reserve, since what starting takes differs from run to run."""
    problem = _problem(profile=_with_runtime(baseline_bytes=1, run_bytes=0, overhead_bytes=0))
    assert problem.process.budget_for(0) == 1800
    assert problem.process.live_limit(1800) > 0 > problem.process.live_limit(1799)
