"""The moment of a block's peak: its layers add up to what the block's prediction says, which is computed elsewhere."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.explain.peak_moment import PeakMoment, peak_moments
from planner.solver.explain.training_step import training_step
from planner.solver.plan import make_plan
from planner.units import MIB
from tests.unit.solver.two_units import tiny_profile

_PARTS = ("parameters", "gradients", "optimizer", "activations")


@pytest.fixture(scope="module")
def profile() -> Profile:
    return read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")


def _plan(profile: Profile, strategy: Strategy, budget: int, batch: int, **terms: object) -> Plan:
    training = Training(batch, 1, 1000, profile.optimizer)
    request = Request(Budget(budget * MIB, "process"), training, strategy=strategy)
    return make_plan(profile, replace(request, **terms))  # type: ignore[arg-type]  # fields of a request


def _check(plan: Plan, moments: tuple[PeakMoment, ...]) -> None:
    assert [found.block for found in moments] == list(range(len(plan.stages)))
    for block, found in zip(plan.stages, moments, strict=True):
        parts = block.predicted.breakdown
        for part in _PARTS:
            own = sum(getattr(share, f"{part}_bytes") for share in found.shares)
            assert own + (found.held_bytes if part == "activations" else 0) == getattr(parts, part), part
        sizes = [getattr(share, f"{part}_bytes") for share in found.shares for part in (*_PARTS, "transient")]
        around = [found.held_bytes, found.data_bytes, found.around_bytes, found.runtime_bytes]
        assert min(*sizes, *around) >= 0
        assert sum(sizes) + sum(around) == parts.total
        working = [share for share in found.shares if share.transient_bytes]
        assert [(share.unit, share.kind) for share in working] in ([], [(found.unit, found.kind)])
        order = [(share.unit, share.kind == "head") for share in found.shares]
        assert all(one < other for one, other in pairwise(order))


@pytest.mark.parametrize("allocator", ["tight", "fast"])
def test_layers_add_up_to_the_parts_of_the_peak(profile: Profile, allocator: str) -> None:
    found: set[str] = set()
    for strategy, budget, batch, terms in (
        ("backprop", 2000, 32, {}),
        ("backprop", 300, 128, {}),
        ("checkpoint", 300, 32, {}),
        ("classic-local", 600, 32, {}),
        ("neuroflux", 300, 128, {}),
        ("auto", 285, 128, {}),
        ("neuroflux", 400, 64, {"overlap": 1}),
    ):
        plan = _plan(profile, strategy, budget, batch, allocator=allocator, **terms)  # type: ignore[arg-type]
        moments = peak_moments(profile, plan)
        _check(plan, moments)
        found |= {moment.doing for moment in moments}
    assert "backward" in found


def test_the_unit_at_work_is_where_a_step_is_at_its_highest() -> None:
    profile = tiny_profile()
    step = training_step(profile)
    points = [point.activations_bytes + point.gradients_bytes + point.transient_bytes for point in step.points]
    highest = step.points[points.index(max(points))]
    plan = _plan(profile, "backprop", 8000, step.micro_batch, allocator="tight")
    (block,) = plan.blocks
    assert (block.micro_batch, block.optimizer_in_backward) == (step.micro_batch, False)
    (moment,) = peak_moments(profile, plan)
    assert (moment.doing, moment.unit) == (highest.phase, highest.unit)
