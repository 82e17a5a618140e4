"""The demo's budget: below plain backpropagation's least where that can be, and always one in which something fits."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from planner.cli.demo import budget_for, run
from planner.errors import InputError
from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.profile import Profile
from planner.schema.terms import BudgetTerms, PlanTerms, TrainingTerms
from planner.solver.plan import make_plan
from planner.units import MIB


@pytest.fixture(scope="module")
def profile() -> Profile:
    return read_profile(FOLDER / "models" / "vgg11-3x32x32-10-sgd.json")


def test_it_is_a_tenth_below_what_backpropagation_needs(profile: Profile) -> None:
    least, budget = budget_for(profile, TrainingTerms(batch=64, epochs=3, samples=4000))
    assert 0.9 * least - MIB < budget <= 0.9 * least


def test_where_starting_takes_most_something_fits_all_the_same(profile: Profile) -> None:
    """As with a CUDA build of torch."""
    training = TrainingTerms(batch=64, epochs=3, samples=4000)
    starting = replace(profile, runtime=replace(profile.runtime, start_peak_bytes=700 * MIB))
    _, budget = budget_for(starting, training)
    assert (
        make_plan(starting, PlanTerms(budget=BudgetTerms(budget), training=training).request()).predicted.peak_bytes
        <= budget
    )


def test_a_run_of_somebodys_own_is_not_taken_for_an_earlier_demo(tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "block-000.safetensors"
    weights.parent.mkdir()
    weights.touch()
    with pytest.raises(InputError, match="holds a run that is no demo"):
        run(Namespace(out=tmp_path))
    assert weights.exists()
