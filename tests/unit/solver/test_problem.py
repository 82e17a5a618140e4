"""What a problem ranges over, and what a budget leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.solver.problem import Problem
from planner.solver.request import Request
from planner.solver.schema import Budget, Scope, Training
from tests.unit.solver.tiny import SGD, tiny_profile


def _problem(batch: int = 2, scope: Scope = "process") -> Problem:
    training = Training(batch=batch, epochs=1, samples=4, optimizer=SGD)
    return Problem(tiny_profile(), Request(Budget(1, scope), training, reserve_bytes=100))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(1, (1,)), (6, (6, 3, 2, 1)), (8, (8, 4, 2, 1)), (24, (8, 6, 4, 3, 2, 1)), (9, (3, 1)), (65536, (8, 4, 2, 1))],
)
def test_micro_batches_divide_the_batch_up_to_four_times_the_largest_profiled(
    batch: int, expected: tuple[int, ...]
) -> None:
    assert _problem(batch).micro_batches == expected


@given(st.integers(0, 10**9), st.sampled_from(("process", "training")))
def test_live_limit_is_the_most_that_fits(budget: int, scope: Scope) -> None:
    problem = _problem(scope=scope)
    limit = problem.live_limit(budget)
    if limit >= 0:
        assert problem.budget_for(limit) <= budget
    assert problem.budget_for(max(limit + 1, 0)) > budget
