"""The checker finds every single wrong figure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from planner.errors import PlannerError
from planner.schema.model import Unit
from planner.schema.plan import Block, Plan
from planner.schema.prediction import BlockPrediction, Breakdown, PhasePeaks
from planner.schema.profile import Profile
from planner.schema.request import Budget, Training
from planner.solver.checker.check import check
from planner.solver.problem import CLASSIFIER, BlockChoice
from tests.heads import heads
from tests.unit.solver.checked_plans import (
    AGAIN,
    CACHED,
    HEADS,
    ONE,
    PASSED,
    ROOM,
    plan_of,
    problem_of,
    signed,
    stepping_profile,
    with_policies,
)
from tests.unit.solver.random_profiles import LAYERS
from tests.unit.solver.two_units import FIRST, SECOND, SGD, tiny_profile


def _refuse(plan: Plan, profile: Profile, fault: str) -> None:
    with pytest.raises(PlannerError, match=f"contradicts its checker.*{re.escape(fault)}"):
        check(signed(plan), profile)


@pytest.mark.parametrize("case", ["unmeasured", "one alone", "no time", "another kind of device", "a fast profile"])
def test_finds_a_policy_that_was_not_measured(case: str) -> None:
    profile = with_policies(tiny_profile(), 3e-6, 2e-6, (3000, 50, 100))
    plan = plan_of(problem_of(profile, "process", "fast"), ONE)
    wrong = {
        "unmeasured": replace(profile, policies=()),
        "one alone": replace(profile, policies=profile.policies[1:]),
        "no time": with_policies(profile, 0.0, 2e-6, (3000, 50, 100)),
        "another kind of device": replace(profile, device=replace(profile.device, kind="cuda")),
        "a fast profile": replace(profile, allocator="fast"),
    }[case]
    _refuse(replace(plan, device=wrong.device), wrong, "nothing is known under the allocator fast")


def test_finds_micro_batches_out_of_reach() -> None:
    # Frozen units may normalise over single values, but have to be known at the micro-batch.
    needy, known = replace(FIRST, minimum_micro_batch=2), replace(FIRST, costs=FIRST.costs[:1])
    alone = replace(AGAIN, micro_batch=1)
    problem = problem_of(tiny_profile((needy, SECOND)))
    check(plan_of(problem, PASSED, alone), problem.profile)
    _refuse(
        plan_of(problem, replace(PASSED, micro_batch=1), alone), problem.profile, "blocks[0]: 2 ≤ micro_batch 1 ≤ 8"
    )

    large = Training(batch=8, epochs=1, samples=5, optimizer=SGD)
    problem = problem_of(tiny_profile((known, SECOND)), training=large)
    passed = replace(PASSED, micro_batch=4)
    plan = plan_of(problem, passed, replace(AGAIN, micro_batch=4))
    assert plan.blocks[1].predicted.extrapolated_from == 1
    check(plan, problem.profile)
    far = plan_of(problem, passed, replace(AGAIN, micro_batch=8))
    _refuse(far, problem.profile, "blocks[1]: 1 ≤ micro_batch 8 ≤ 4")
    cached = plan_of(problem, replace(passed, caches=True), replace(CACHED, micro_batch=8))
    assert cached.blocks[1].predicted.extrapolated_from == 2
    check(cached, problem.profile)


def _rich() -> tuple[Plan, Profile]:
    """Every kind of input, recomputation, the optimizer in backward, ladders; under the fast allocator."""
    (first, second), (head, _) = stepping_profile().units, stepping_profile().heads
    found = tuple(replace(head, boundary=boundary) for boundary in (1, 2))
    profile = with_policies(tiny_profile((first, second, second), found), 3e-6, 2e-6, (3000, 50, 100))
    # Reading takes less time than computing, so that every second of computing shows.
    profile = replace(profile, storage=replace(profile.storage, read_bytes_per_second=10**9))
    choices = (
        BlockChoice(0, 2, (1,), heads(8), recompute=((0, 1),), optimizer_in_backward=True),
        BlockChoice(1, 2, (2,), heads(8), recompute=((1, 2),), source="recompute", caches=True),
        BlockChoice(2, 2, (3,), (CLASSIFIER,), source="cache"),
    )
    return plan_of(problem_of(profile, "process", "fast"), *choices), profile


RICH, PROFILE = _rich()


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert all(block.ladder for block in RICH.blocks)
    check(RICH, PROFILE)


def _block(plan: Plan, place: int, block: Block) -> Plan:
    return replace(plan, blocks=(*plan.blocks[:place], block, *plan.blocks[place + 1 :]))


def _phase(name: str) -> Callable[[BlockPrediction], BlockPrediction]:
    def change(predicted: BlockPrediction) -> BlockPrediction:
        phases = predicted.peak_bytes_by_phase
        return replace(predicted, peak_bytes_by_phase=replace(phases, **{name: getattr(phases, name) + 1}))

    return change


def _part(name: str) -> Callable[[BlockPrediction], BlockPrediction]:
    """One byte from one part to another, so that the sum stays."""

    def change(predicted: BlockPrediction) -> BlockPrediction:
        parts, other = predicted.breakdown, "data" if name == "transient" else "transient"
        wrong = {name: getattr(parts, name) + 1, other: getattr(parts, other) - 1}
        return replace(predicted, breakdown=replace(parts, **wrong))

    return change


def _more_in_breakdown(predicted: BlockPrediction) -> BlockPrediction:
    parts = predicted.breakdown
    return replace(predicted, breakdown=replace(parts, transient=parts.transient + 1))


def _least(predicted: BlockPrediction) -> BlockPrediction:
    names = [field.name for field in fields(Breakdown)]
    return replace(predicted, binding=min(names, key=lambda name: int(getattr(predicted.breakdown, name))))


TOGETHER = "activations and gradients"
MOVED = {"gradients": TOGETHER, "activations": TOGETHER, "transient": "breakdown.data is"}
PREDICTED: dict[str, tuple[Callable[[BlockPrediction], BlockPrediction], str]] = {
    "peak_bytes": (lambda known: replace(known, peak_bytes=known.peak_bytes + 1), "peak_bytes is"),
    **{field.name: (_phase(field.name), f"peak_bytes_by_phase.{field.name} is") for field in fields(PhasePeaks)},
    **{
        f"{field.name} of the breakdown": (_part(field.name), MOVED.get(field.name, f"breakdown.{field.name} is"))
        for field in fields(Breakdown)
    },
    "sum": (_more_in_breakdown, "breakdown's sum is"),
    "binding": (_least, "binding's size is"),
    "seconds": (
        lambda known: replace(known, seconds_per_epoch=known.seconds_per_epoch + 1e-9),
        "seconds_per_epoch is",
    ),
    "finish": (lambda known: replace(known, finish_seconds=known.finish_seconds + 1e-9), "finish_seconds is"),
    "untouched": (lambda known: replace(known, untouched_bytes=1), "untouched_bytes is"),
    "extrapolated": (lambda known: replace(known, extrapolated_from=1), "extrapolated_from is"),
}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", PREDICTED)
def test_finds_in_a_block_and_in_its_smaller_setting(name: str, place: int) -> None:
    change, fault = PREDICTED[name]
    block = RICH.blocks[place]
    wrong = replace(block, predicted=change(block.predicted))
    _refuse(_block(RICH, place, wrong), PROFILE, f"blocks[{place}]: {fault}")
    fallback = replace(block.ladder[0], predicted=change(block.ladder[0].predicted))
    wrong = replace(block, ladder=(fallback, *block.ladder[1:]))
    _refuse(_block(RICH, place, wrong), PROFILE, f"blocks[{place}].ladder[0]: {fault}")


def _input(place: int, **wrong: Any) -> Plan:
    block = RICH.blocks[place]
    return _block(RICH, place, replace(block, input=replace(block.input, **wrong)))


def _spans(place: int, *spans: tuple[int, int]) -> Plan:
    block = RICH.blocks[place]
    return _block(RICH, place, replace(block, segments=(replace(block.segments[0], recompute=spans),)))


def _fallback(**wrong: Any) -> Plan:
    block = RICH.blocks[0]
    return _block(RICH, 0, replace(block, ladder=(replace(block.ladder[0], **wrong),)))


def _total(**wrong: Any) -> Plan:
    return replace(RICH, predicted=replace(RICH.predicted, **wrong))


def _other(**wrong: Any) -> Plan:
    return replace(RICH, alternatives=(replace(RICH.alternatives[0], **wrong),))


PEAK, STORED = RICH.predicted.peak_bytes, RICH.predicted.cache_bytes
LOST = RICH.predicted.accuracy_loss_points
assert LOST is not None
WRONG: dict[str, tuple[Plan, str]] = {
    "profile": (replace(RICH, profile_id="0" * 64), "profile_id is"),
    "model": (replace(RICH, model=replace(RICH.model, name="another")), "model is"),
    "device": (replace(RICH, device=replace(RICH.device, name="another")), "device is"),
    "allocator": (replace(RICH, allocator="tight"), "baseline_bytes is 3000, computed 1000"),
    "baseline": (replace(RICH, baseline_bytes=1000), "baseline_bytes is 1000, computed 3000"),
    "calibration": (replace(RICH, calibration_seconds=0.25), "calibration_seconds is 0.25, computed None"),
    "budget": (replace(RICH, budget=Budget(PEAK - 1, "process")), f"predicted.peak_bytes {PEAK} ≤"),
    "start": (replace(RICH, budget=Budget(1699, "process")), "start 1700 ≤ 1699"),
    "reserve": (replace(RICH, reserve_bytes=ROOM - PEAK + 1), f"predicted.peak_bytes {PEAK} ≤"),
    "scope": (replace(RICH, budget=Budget(ROOM, "training")), "blocks[0]: peak_bytes_by_phase.save is"),
    "storage": (replace(RICH, storage_bytes=STORED - 1), f"predicted.cache_bytes {STORED} ≤ storage_bytes"),
    "minimum": (replace(RICH, minimum_budget_bytes=ROOM + 1), "minimum_budget_bytes 100000001 ≤"),
    "cuts": (replace(RICH, max_cuts=1), "2 cuts ≤ max_cuts 1"),
    "exits": (replace(RICH, exits=RICH.exits[1:]), "exits is"),
    "peak": (_total(peak_bytes=PEAK - 1), "predicted.peak_bytes is"),
    "seconds": (_total(seconds_total=RICH.predicted.seconds_total + 1e-9), "predicted.seconds_total is"),
    "stored": (_total(cache_bytes=STORED + 1), "predicted.cache_bytes is"),
    "lost accuracy": (
        _total(accuracy_loss_points=replace(LOST, expected=LOST.expected + 0.02, high=99.0)),
        "predicted.accuracy_loss_points is",
    ),
    "no lost accuracy": (_total(accuracy_loss_points=None), "predicted.accuracy_loss_points is None with the metric"),
    "more lost accuracy than allowed": (
        replace(RICH, schema="plan/2", request=replace(RICH.asked, max_accuracy_loss=LOST.expected - 0.02)),
        "points lost ≤ max_accuracy_loss",
    ),
    "another's peak": (_other(peak_bytes=ROOM + 1), "alternatives[0].peak_bytes 100000001 ≤"),
    "another's storage": (
        replace(_other(cache_bytes=STORED + 1), storage_bytes=STORED),
        "alternatives[0].cache_bytes",
    ),
    "epochs": (replace(RICH, training=replace(RICH.training, epochs=4)), "predicted.seconds_total is"),
    "samples": (replace(RICH, training=replace(RICH.training, samples=6)), "blocks[0]: seconds_per_epoch is"),
    "a prefix instead of a cache": (_input(2, kind="recompute"), "predicted.cache_bytes is"),
    "a cache instead of a prefix": (_input(1, kind="cache"), "blocks[0]: peak_bytes_by_phase.cache is"),
    "type of images": (_input(0, dtype="float32"), "blocks[0].input.dtype is"),
    "type of images run again": (_input(1, dtype="float32"), "blocks[1].input.dtype is"),
    "type of a cache": (_input(2, dtype="uint8"), "predicted.cache_bytes is 80, computed 90"),
    "unit of images run again": (_input(1, from_unit=1), "blocks[1].input.from_unit is 1, computed 0"),
    "unit of a cache": (_input(2, from_unit=0), "blocks[2].input.from_unit is 0, computed 2"),
    "record of images run again": (_input(1, sample_bytes=48), "blocks[1].input.sample_bytes is 48, computed 43"),
    "record of a cache": (_input(2, sample_bytes=17), "blocks[2].input.sample_bytes is 17, computed 16"),
    "a span too few": (_spans(1), "blocks[1]: seconds_per_epoch is"),
    "a span too many": (_spans(2, (2, 3)), "blocks[2].ladder[0]: seconds_per_epoch is"),
    "no optimizer in backward": (
        _block(RICH, 0, replace(RICH.blocks[0], optimizer_in_backward=False)),
        "blocks[0]: peak_bytes_by_phase.train is",
    ),
    "the optimizer in backward": (
        _block(RICH, 2, replace(RICH.blocks[2], optimizer_in_backward=True)),
        "blocks[2]: peak_bytes_by_phase.train is",
    ),
    "accumulation": (_fallback(accumulate=3), "blocks[0].ladder[0]: micro_batch × accumulate is 3, computed 2"),
    "ladder": (_fallback(micro_batch=2, accumulate=1), "blocks[0].ladder[0] is smaller than"),
    "ladder's peak": (_fallback(predicted=RICH.blocks[0].predicted), "blocks[0].ladder[0] needs less than"),
}


@pytest.mark.parametrize("name", WRONG)
def test_finds(name: str) -> None:
    plan, fault = WRONG[name]
    _refuse(plan, PROFILE, fault)


def test_finds_a_wrong_id() -> None:
    with pytest.raises(PlannerError, match="id is"):
        check(replace(RICH, id="0" * 64), PROFILE)


def test_finds_a_head_that_is_not_profiled() -> None:
    heads = tuple(head for head in PROFILE.heads if head.boundary != 2)
    _refuse(RICH, replace(PROFILE, heads=heads), "no head (8 filters) is profiled behind (1, 2)")


@pytest.mark.parametrize(
    ("kinds", "linear_segments", "fault"),
    [
        ("cl", False, "0 of the units 1 to 1, a segment, extract features: ≥ 1"),
        ("lc", False, "0 of the units 0 to 0, a segment, extract features: ≥ 1"),
        ("cl", True, None),
        ("cr", False, None),
        ("lp", False, None),  # a network without a convolution
    ],
)
def test_finds_a_segment_without_a_convolution(kinds: str, linear_segments: bool, fault: str | None) -> None:
    units = tuple(Unit(f"unit{index}", LAYERS[kind]) for index, kind in enumerate(kinds))
    profile = tiny_profile()
    problem = problem_of(replace(profile, model=replace(profile.model, units=units)))
    plan = replace(plan_of(problem, PASSED, AGAIN), linear_segments=linear_segments)
    if fault is None:
        check(signed(plan), problem.profile)
    else:
        _refuse(plan, problem.profile, fault)
    check(signed(replace(plan_of(problem, ONE), linear_segments=linear_segments)), problem.profile)


def test_finds_a_cut_without_the_window_that_was_asked_for() -> None:
    problem = problem_of(tiny_profile((FIRST, SECOND, SECOND), HEADS), overlap=1)
    both = BlockChoice(0, 2, (1, 2, 3), heads(8, 8, 0), windows=(1,))
    request = replace(problem.request, prefer="speed", linear_segments=True)
    asked = replace(plan_of(problem, both), schema="plan/2", request=request)
    check(signed(asked), problem.profile)
    neither = plan_of(problem, replace(both, windows=()))
    check(neither, problem.profile)
    lacking = replace(neither, schema="plan/2", request=request)
    _refuse(lacking, problem.profile, "units behind unit 0 that its segment trains is 0, computed 1")


def test_finds_a_budget_that_starting_under_the_plans_policy_does_not_fit() -> None:
    profile = with_policies(tiny_profile(), 3e-6, 2e-6, (3000, 50, 100))
    tight, fast = profile.policies
    higher = replace(profile, policies=(tight, fast, replace(fast, policy="huge", start_peak_bytes=9000)))
    problem = problem_of(higher, "process", "huge")
    assert problem.process.start_bytes == 9000 + profile.runtime.supervisor_bytes
    plan = plan_of(problem, ONE)
    check(plan, higher)
    least = replace(plan.budget, bytes=plan.predicted.peak_bytes + plan.reserve_bytes)
    assert least.bytes < problem.process.start_bytes
    small = replace(plan, budget=least, minimum_budget_bytes=least.bytes)
    _refuse(small, higher, "start")
