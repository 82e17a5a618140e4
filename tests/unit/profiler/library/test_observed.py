"""A run's own times make the next plan's better: what a run tells, and what becomes of a profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner.profiler.library.observed import Observation, Observations, factors_of, observation, with_times
from planner.schema.codec import content_id, to_json
from planner.schema.common import Policy
from planner.schema.observed import Observed, PolicyFactor
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import BlockReport, Report
from planner.schema.request import Budget, Request, Training
from planner.solver.checker.check import check
from planner.solver.plan import make_plan
from tests.unit.report.documents import PLAN, REPORT
from tests.unit.solver.chains import SGD, zoo_profile
from tests.unit.solver.two_units import policy_profile

FIRST = replace(REPORT.blocks[0], waited_permille=200)
"""3 epochs, predicted at 3.25 s each, took 6.5 s, a fifth of them without a processor."""

QUIET = replace(REPORT, blocks=(FIRST, REPORT.blocks[1]), deviations=())


def test_a_run_tells_of_its_whole_epochs_without_waiting() -> None:
    assert QUIET.blocks[1].epochs == 0
    for factor in (1.0, 2.0):  # what the plan counted so many times as long as the profile was measured
        found = observation(PLAN, QUIET, factor)
        assert found is not None
        assert (found.policy, found.predicted_seconds) == (PLAN.allocator, 3 * 3.25 / factor)
        assert found.measured_seconds == pytest.approx(3 * 6.5 * 0.8)
    uncounted = _with(replace(FIRST, waited_permille=None))
    assert observation(PLAN, uncounted) == Observation(PLAN.allocator, 3 * 3.25, 3 * 6.5)


def _with(block: BlockReport) -> Report:
    return replace(QUIET, blocks=(block, REPORT.blocks[1]))


@pytest.mark.parametrize(
    "report",
    [
        replace(QUIET, deviations=("it began smaller",)),
        _with(replace(FIRST, waited_permille=501)),
        _with(replace(FIRST, epochs=0)),
        _with(replace(FIRST, measured_seconds_per_epoch=0.0)),
    ],
    ids=["left its plan", "waited more than it ran", "no epoch", "no time"],
)
def test_a_run_that_was_another_tells_nothing(report: Report) -> None:
    assert observation(PLAN, report) is None


def test_nothing_is_learned_of_an_accelerator() -> None:
    elsewhere = replace(PLAN, device=replace(PLAN.device, kind="cuda"))
    assert observation(elsewhere, QUIET) is None


def test_policies_without_runs_follow_all_runs() -> None:
    runs = [Observation("fast", 10.0, 5.0), Observation("fast", 30.0, 25.0), Observation("tight", 10.0, 15.0)]
    assert factors_of(runs, ("tight", "fast", "huge")) == (
        PolicyFactor("tight", 1.5),
        PolicyFactor("fast", 0.75),
        PolicyFactor("huge", 0.9),
    )
    assert factors_of([], ("tight",)) == (PolicyFactor("tight", 1.0),)
    assert factors_of([Observation("tight", 1.0, 1e9)], ("tight",)) == (PolicyFactor("tight", 20.0),)


FACTORS: dict[Policy, float] = {"tight": 1.5, "fast": 0.5}


@pytest.fixture(scope="module")
def profile() -> Profile:
    policies = policy_profile("tight", 0, 0, 20, 0.3), policy_profile("fast", 0, 0, 20, 0.2)
    found = replace(zoo_profile("cnn6"), policies=policies, id="")
    return replace(found, id=content_id(found))


def _plan(profile: Profile, policy: Policy) -> Plan:
    training = Training(batch=64, epochs=2, samples=640, optimizer=SGD)
    asked = Request(Budget(2**33, "process"), training, strategy="backprop")
    return make_plan(profile, replace(asked, allocator=policy))


def test_plans_from_a_corrected_profile_take_each_policys_factor(profile: Profile) -> None:
    observed = Observed(profile.id, 2, tuple(PolicyFactor(policy, factor) for policy, factor in FACTORS.items()))
    better = with_times(profile, observed)
    assert better.id == content_id(better) != profile.id
    for policy, factor in FACTORS.items():
        before, after = _plan(profile, policy), _plan(better, policy)
        check(after, better)
        assert after.predicted.seconds_total == pytest.approx(factor * before.predicted.seconds_total, rel=1e-4)
        assert after.predicted.peak_bytes == before.predicted.peak_bytes


def _ran(plan: Plan, times: float) -> Report:
    """A run of a plan of one block whose epochs took so many times what the plan predicts."""
    predicted = plan.blocks[0].predicted.seconds_per_epoch
    block = replace(
        FIRST,
        waited_permille=0,
        predicted_seconds_per_epoch=predicted,
        measured_seconds_per_epoch=times * predicted,
    )
    return replace(QUIET, blocks=(block,))


def test_a_second_plan_is_predicted_as_the_first_ran_and_a_third_stays_so(profile: Profile, tmp_path: Path) -> None:
    store = Observations(tmp_path)
    plan = _plan(profile, "fast")
    assert store.add(plan, _ran(plan, 0.5)) is False  # of a profile that is not in the store
    assert store.corrected(profile) is profile
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / f"{profile.id}.json").write_text(to_json(profile))
    assert store.add(plan, _ran(plan, 0.5)) is True
    better = store.corrected(profile)
    assert better.observed == Observed(profile.id, 1, (PolicyFactor("tight", 0.5), PolicyFactor("fast", 0.5)))
    second = _plan(better, "fast")
    total = plan.predicted.seconds_total
    assert second.predicted.seconds_total == pytest.approx(0.5 * total, rel=1e-4)
    # The second runs as predicted: by the profile as it was measured, that is half as long again.
    assert store.add(second, _ran(second, 1.0)) is True
    third = store.corrected(profile)
    assert third.observed == Observed(profile.id, 2, better.observed.factors)
    assert _plan(third, "fast").predicted.seconds_total == pytest.approx(0.5 * total, rel=1e-4)


def test_times_that_were_right_stay_and_what_is_no_line_is_passed_over(profile: Profile, tmp_path: Path) -> None:
    store = Observations(tmp_path)
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / f"{profile.id}.json").write_text(to_json(profile))
    plan = _plan(profile, "fast")
    assert store.add(plan, _ran(plan, 1.02)) is True
    assert store.corrected(profile) is profile
    (tmp_path / "observations" / f"{profile.id}.jsonl").write_text('{"policy": "fast"}\n' + 3 * "not JSON\n")
    assert store.corrected(profile) is profile
