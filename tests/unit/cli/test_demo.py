"""The demo's budget: below plain backpropagation's least where that can be, and always one in which something fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.cli.demo import budget_for
from planner.profiler.applies import read_profile
from planner.profiler.schema import Profile
from planner.profiler.shipped import FOLDER
from planner.solver.plan import make_plan
from planner.solver.request import Request
from planner.solver.schema import Budget, Training
from planner.units import MIB


@pytest.fixture(scope="module")
def profile() -> Profile:
    return read_profile(FOLDER / "models" / "vgg11-3x32x32-10-sgd.json")


def test_it_is_a_tenth_below_what_backpropagation_needs(profile: Profile) -> None:
    least, budget = budget_for(profile, Training(64, 3, 4000, profile.optimizer))
    assert 0.9 * least - MIB < budget <= 0.9 * least


def test_where_starting_takes_most_something_fits_all_the_same(profile: Profile) -> None:
    """As with a CUDA build of torch."""
    training = Training(64, 3, 4000, profile.optimizer)
    starting = replace(profile, runtime=replace(profile.runtime, start_peak_bytes=700 * MIB))
    _, budget = budget_for(starting, training)
    assert make_plan(starting, Request(Budget(budget, "process"), training)).predicted.peak_bytes <= budget
