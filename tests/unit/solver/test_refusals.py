"""What the solver refuses: the error names the value and what would be right, and is never anything but ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InfeasibleError, InputError
from planner.schema.common import Policy
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Strategy, Training
from planner.schema.runtime import PolicyProfile, StepTime
from planner.solver import policies
from planner.solver.plan import least_memory, make_plan
from planner.solver.policies import policies_of
from planner.tasks.regression import Regression
from tests.unit.solver.chains import SGD, zoo_profile
from tests.unit.solver.two_units import policy_profile

REQUEST = Request(Budget(2**33, "process"), Training(batch=64, epochs=2, samples=5000, optimizer=SGD))
BOTH = (policy_profile("tight", 240 * 2**20, 2**20, 20, 0.3), policy_profile("fast", 240 * 2**20, 2**20, 150, 0.2))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return replace(zoo_profile("cnn6", (1, 4, 16, 64)), policies=BOTH)


@pytest.mark.parametrize("strategy", ["classic-local", "neuroflux"])
def test_a_strategy_that_cuts_everywhere_takes_no_smaller_limit(profile: Profile, strategy: Strategy) -> None:
    everywhere = len({head.boundary for head in profile.heads}) - 2  # not right before the classifier
    asked = replace(REQUEST, strategy=strategy, max_cuts=everywhere - 1)
    for answer in (make_plan, least_memory):
        with pytest.raises(InputError, match=f"max_cuts is {everywhere - 1}.*{strategy}.*{everywhere} cuts.*auto"):
            answer(profile, asked)
    assert make_plan(profile, replace(asked, max_cuts=everywhere)).cuts == everywhere
    others = make_plan(profile, replace(asked, strategy="auto")).alternatives
    assert all(other.cuts < everywhere for other in others)


@pytest.mark.parametrize("strategy", ["classic-local", "neuroflux"])
def test_a_strategy_that_cuts_everywhere_loses_no_less_accuracy(profile: Profile, strategy: Strategy) -> None:
    lost = make_plan(profile, replace(REQUEST, strategy=strategy)).predicted.accuracy_loss_points
    assert lost is not None
    for answer in (make_plan, least_memory):
        with pytest.raises(InputError, match=rf"max_accuracy_loss is .*{strategy}.*allow {lost.expected}, or .*auto"):
            answer(profile, replace(REQUEST, strategy=strategy, max_accuracy_loss=lost.expected - 0.01))
    asked = replace(REQUEST, strategy=strategy, max_accuracy_loss=lost.expected)
    assert make_plan(profile, asked).predicted.accuracy_loss_points == lost


def test_no_bound_on_lost_accuracy_where_the_metric_is_no_share(profile: Profile) -> None:
    numbers = replace(profile, model=replace(profile.model, task=Regression("regression")))
    assert make_plan(numbers, REQUEST).predicted.accuracy_loss_points is None
    with pytest.raises(InputError, match=r"^max_accuracy_loss is 1, but this network's metric is RMSE.*max_cuts"):
        make_plan(numbers, replace(REQUEST, max_accuracy_loss=1.0))


def without_time(profile: Profile) -> Profile:
    return replace(profile, policies=(replace(BOTH[0], steps=(StepTime(1, 4e-10),)), BOTH[1]))


def on_a_gpu(profile: Profile) -> Profile:
    return replace(profile, device=replace(profile.device, kind="cuda"))


def under_tight_alone(profile: Profile) -> Profile:
    return replace(profile, policies=BOTH[:1])


@pytest.mark.parametrize("change", [without_time, on_a_gpu, under_tight_alone])
def test_fast_is_offered_only_where_its_price_is_known(profile: Profile, change: object) -> None:
    assert callable(change)
    changed = change(profile)
    assert policies_of(profile, REQUEST) == ("tight", "fast")
    assert policies_of(changed, REQUEST) == ("tight",)
    assert make_plan(changed, REQUEST).allocator == "tight"
    with pytest.raises(InputError, match="allocator is fast"):
        make_plan(changed, replace(REQUEST, allocator="fast"))


def _huge(seconds: float, peak: int) -> PolicyProfile:
    found = policy_profile("huge", 242 * 2**20, 2**20, 150, seconds)
    return replace(found, account=replace(found.account, peak_bytes=peak))


@pytest.mark.parametrize(
    ("huge", "offered"),
    [
        (_huge(0.1, 90), ("tight", "huge")),  # better than `fast` in everything
        (_huge(0.3, 110), ("tight", "fast")),  # worse in everything
        (_huge(0.1, 110), ("tight", "fast", "huge")),
        (_huge(0.3, 90), ("tight", "fast", "huge")),
        (_huge(0.2, 100), ("tight", "fast", "huge")),
    ],
)
def test_a_policy_that_another_is_better_than_is_left_out_unless_asked_for(
    profile: Profile, huge: PolicyProfile, offered: tuple[Policy, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "_ON_REQUEST", frozenset())
    fast = replace(BOTH[1], account=replace(BOTH[1].account, peak_bytes=100))
    profile = replace(profile, policies=(BOTH[0], fast, huge))
    assert policies_of(profile, REQUEST) == offered
    for policy in ("tight", "fast", "huge"):
        asked = replace(REQUEST, allocator=policy)
        assert policies_of(profile, asked) == (policy,)
        assert make_plan(profile, asked).allocator == policy
    assert make_plan(profile, REQUEST).allocator in offered


def test_a_policy_whose_peaks_are_not_bounded_yet_is_chosen_where_it_is_asked_for_alone(profile: Profile) -> None:
    profile = replace(profile, policies=(*BOTH, _huge(0.01, 1)))
    assert policies_of(profile, REQUEST) == ("tight", "fast")
    assert make_plan(profile, replace(REQUEST, allocator="huge")).allocator == "huge"


@pytest.mark.parametrize("allocator", [None, "tight", "fast"])
def test_a_profile_taken_under_fast_is_refused(profile: Profile, allocator: Policy | None) -> None:
    with pytest.raises(InputError, match="measured under the allocator fast"):
        make_plan(replace(profile, allocator="fast"), replace(REQUEST, allocator=allocator))


def test_bytes_beyond_every_device_are_refused(profile: Profile) -> None:
    unit = replace(profile.units[1], parameter_bytes=2**62, optimizer_bytes=2**62)
    with pytest.raises(InputError, match=r"\d{19} bytes together at micro-batch 64; at most 72057594037927936"):
        make_plan(replace(profile, units=(profile.units[0], unit, *profile.units[2:])), REQUEST)


def test_a_training_of_centuries_is_refused(profile: Profile) -> None:
    costs = tuple(replace(cost, forward_seconds=1e9) for cost in profile.units[1].costs)
    unit = replace(profile.units[1], costs=costs)
    with pytest.raises(InputError, match=r"seconds for a micro-batch of 64; at most 2\.88e"):
        make_plan(replace(profile, units=(profile.units[0], unit, *profile.units[2:])), REQUEST)


@pytest.mark.parametrize(("batch", "message"), [(0, "batch"), (-3, "batch"), (2**40, "batch")])
def test_batches_out_of_range_are_refused(batch: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(REQUEST.training, batch=batch)


def test_a_budget_below_the_runtime_says_so(profile: Profile) -> None:
    with pytest.raises(InfeasibleError, match=r"1 bytes.*smallest feasible"):
        make_plan(profile, replace(REQUEST, budget=Budget(1, "process")))
