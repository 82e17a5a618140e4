"""Widths of heads: the widest within its share of time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.schema.profile import ComponentProfile, HeadProfile
from planner.schema.request import Budget, Request, Training
from planner.solver.problem import Problem
from planner.solver.search.heads import preferred_heads, widest_heads
from tests.heads import heads
from tests.unit.solver.two_units import FIRST, HEAD, SECOND, SGD, tiny_profile


def _timed(microseconds: float) -> ComponentProfile:
    """The tiny head with this forward time at micro-batch 2, and no backward."""
    at_two = replace(HEAD.costs[1], forward_seconds=microseconds * 1e-6, backward_seconds=0.0)
    return replace(HEAD, costs=(HEAD.costs[0], at_two))


def _problem(share: float) -> Problem:
    # At micro-batch 2 the chain takes 10+15 + 6+9 + 6+9 + 1+1 = 57 microseconds; a quarter is 14.25.
    heads = (
        HeadProfile(1, "auxiliary", 16, _timed(3)),
        HeadProfile(1, "auxiliary", 8, _timed(2)),
        HeadProfile(2, "auxiliary", 32, _timed(14)),
        HeadProfile(2, "auxiliary", 8, _timed(3)),
    )
    training = Training(batch=2, epochs=1, samples=4, optimizer=SGD)
    profile = tiny_profile((FIRST, SECOND, SECOND), heads)
    return Problem(profile, Request(Budget(10**6, "training"), training, head_time_share=share))


@pytest.mark.parametrize(
    ("share", "first", "second"),
    [
        (1.0, 16, 32),
        (14 / 14.25 - 0.001, 16, 8),
        (3 / 14.25 + 0.001, 16, 8),
        (3 / 14.25 - 0.001, 8, 8),
        (0.0, 8, 8),  # none fits: the narrowest
    ],
)
def test_widest_within_its_share(share: float, first: int, second: int) -> None:
    assert preferred_heads(_problem(share)) == dict(enumerate(heads(first, second, 0), start=1))


def test_widest() -> None:
    assert widest_heads(_problem(0.0)) == dict(enumerate(heads(16, 32, 0), start=1))
