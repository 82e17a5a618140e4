"""What a request leaves open is settled as brute force would over every kind of head, with windows and without."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import inf, log2

import pytest
from hypothesis import given, seed, settings

from planner.errors import InfeasibleError, InputError
from planner.heads.base import HeadKind
from planner.heads.mlp import MlpHead
from planner.model.zoo import from_zoo
from planner.schema.codec import content_id
from planner.schema.plan import Plan
from planner.schema.profile import HeadProfile, Profile
from planner.schema.request import Budget, Preference, Request, Training
from planner.solver import accuracy_figures as figures
from planner.solver.explain.polish import polish_offer
from planner.solver.plan import least_memory, make_plan
from planner.solver.problem import Problem
from planner.solver.request import settled
from planner.solver.settings import as_planned, settings_of
from tests.unit.solver.chains import SGD, computed_profile
from tests.unit.solver.requests import Asked, questions
from tests.unit.solver.test_oracle_campaign import QUIET

Found = tuple[float, int, HeadKind, int]
"""What is lost, segments, kind of head, and whether cuts have windows."""


def _with_costs_of_others(profile: Profile) -> Profile:
    """The same boundaries and widths, at which heads cost what they do elsewhere."""
    *heads, classifier = profile.heads
    pairs = zip(heads, reversed(heads), strict=True)
    return replace(profile, heads=(*(replace(head, cost=other.cost) for head, other in pairs), classifier))


def _with_both(profile: Profile, other: Profile) -> Profile:
    """A profile with heads of two kinds, which cost as they do in these."""
    more = [
        HeadProfile.of(head.boundary, MlpHead("mlp", head.filters), head.cost)
        for head in other.heads
        if head.kind == "auxiliary"
    ]
    return replace(profile, heads=(*profile.heads[:-1], *more, profile.heads[-1]))


def _points(kind: HeadKind, segments: int, overlap: int) -> float:
    lost: float = figures.POINTS[kind] * log2(segments) ** figures.EXPONENT
    return lost * (1 - figures.WINDOWS_SPARE * overlap)


def _frontiers(asked: Asked, budget: int) -> dict[Found, int]:
    """Least time by brute force, of every number of segments, kind of head and overlap."""
    profiles: dict[HeadKind, Profile] = {"pooled-conv": asked.case.profile}
    if len(asked.case.profile.heads) > 1:
        profiles["mlp"] = _with_costs_of_others(asked.case.profile)
    found: dict[Found, int] = {}
    for kind, profile in profiles.items():
        for overlap in (0, 1):
            own = replace(asked, case=replace(asked.case, profile=profile, overlap=overlap))
            oracle = next(iter(own.oracles.values()))
            if overlap and not oracle.windows(tuple(oracle.boundaries)):
                continue
            for segments, time in own.frontier(budget).items():
                found[_points(kind, segments, overlap), segments, kind, overlap] = time
    return found


@seed(3)
@settings(max_examples=6, suppress_health_check=QUIET, database=None, deadline=None)
@given(questions())
def test_what_is_left_open_is_settled_as_brute_force_does(question: tuple[Asked, int]) -> None:
    asked, budget = question
    profile = _with_both(asked.case.profile, _with_costs_of_others(asked.case.profile))
    request = replace(asked.request(budget), head="auto", overlap="auto")
    found = _frontiers(asked, budget)
    if not found:
        with pytest.raises(InfeasibleError):
            make_plan(profile, request)
        return
    fastest = min(found.values())
    assert make_plan(profile, request).predicted.seconds_total <= fastest / 1e9
    _loses_least(make_plan(profile, replace(request, prefer="fidelity")), found, inf)
    _loses_least(make_plan(profile, replace(request, prefer="balanced")), found, fastest * 11 // 10)


def _loses_least(plan: Plan, found: dict[Found, int], allowed: float) -> None:
    best = min(one for one, time in found.items() if time <= allowed)
    segments = [segment for block in plan.blocks for segment in block.segments]
    assert len(segments) == best[1]
    kinds = {segment.head.asked_as for segment in segments if segment.head is not None}
    assert kinds <= {best[2]}
    equal = min(time for one, time in found.items() if one[0] == best[0] and time <= allowed)
    windows = sum(segment.window for segment in segments)
    if best[3] or not windows:
        assert plan.predicted.seconds_total == equal / 1e9
    else:  # bought
        assert equal / 1e9 <= plan.predicted.seconds_total <= allowed / 1e9


@cache
def _vgg() -> tuple[Profile, Request]:
    model = from_zoo("vgg11", (3, 32, 32), 10)
    profile = computed_profile(model, (1, 4, 16, 64))
    profile = replace(profile, id=content_id(profile))
    training = Training(batch=64, epochs=2, samples=6400, optimizer=SGD)
    asked = Request(Budget(1, "process"), training, prefer="fidelity", overlap="auto")
    return profile, asked


def _windows(plan: Plan) -> int:
    return sum(segment.window for block in plan.blocks for segment in block.segments)


def test_windows_at_all_cuts_or_at_none_are_what_is_searched() -> None:
    profile, asked = _vgg()
    least = least_memory(profile, asked)
    for overlap, budget in enumerate((least, least * 43 // 40)):
        plan = make_plan(profile, replace(asked, budget=Budget(budget, "process")))
        alone = make_plan(profile, replace(plan.asked, overlap=overlap))
        assert (plan.blocks, plan.predicted) == (alone.blocks, alone.predicted)
        assert _windows(plan) == overlap * plan.cuts


def test_speed_buys_no_windows() -> None:
    profile, asked = _vgg()
    budget = Budget(least_memory(profile, asked) * 2, "process")
    assert _windows(make_plan(profile, replace(asked, budget=budget, prefer="speed"))) == 0


@pytest.mark.parametrize("prefer", ["speed", "balanced", "fidelity"])
def test_a_bound_on_lost_accuracy_is_kept_whatever_is_left_open(prefer: Preference) -> None:
    profile, asked = _vgg()
    asked = replace(asked, budget=Budget(least_memory(profile, asked) * 5 // 4, "process"), prefer=prefer)
    lost = make_plan(profile, replace(asked, prefer="fidelity", overlap=1)).predicted.accuracy_loss_points
    assert lost is not None
    found = make_plan(profile, replace(asked, max_accuracy_loss=lost.expected)).predicted.accuracy_loss_points
    assert found is not None and found.expected <= lost.expected


def test_a_problem_is_no_request_that_leaves_something_open() -> None:
    profile, asked = _vgg()
    with pytest.raises(ValueError, match="one kind of head"):
        Problem(profile, asked)


def test_a_plan_says_what_was_chosen_for_what_was_left_open() -> None:
    profile, asked = _vgg()
    profile = _with_both(profile, profile)
    asked = replace(asked, head="auto", budget=Budget(least_memory(profile, asked), "process"))
    order = [settled(setting) for setting in settings_of(profile, asked)]
    lost = [_points(kind or "pooled-conv", 2, overlap) for kind, overlap in order]
    assert len(set(order)) == 4 and lost == sorted(lost)
    plan = make_plan(profile, asked)
    assert (as_planned(asked, plan).head, as_planned(asked, plan).overlap) == (None, int(_windows(plan) > 0))
    assert as_planned(asked, make_plan(profile, replace(asked, head="mlp", overlap=0))).head == "mlp"
    assert polish_offer(profile, asked, plan) is not None


def test_what_is_left_open_is_refused_as_anything_is() -> None:
    profile, asked = _vgg()
    asked = replace(asked, head="auto")
    with pytest.raises(InfeasibleError) as caught:
        make_plan(profile, replace(asked, budget=Budget(least_memory(profile, asked) - 1, "process")))
    assert caught.value.minimum_bytes == least_memory(profile, asked)

    with pytest.raises(InputError, match="max_cuts is 0"):
        make_plan(profile, replace(asked, strategy="neuroflux", max_cuts=0, budget=Budget(2**40, "process")))
