"""The checker finds every single wrong figure, and agrees with the solver where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from planner.document import content_id
from planner.errors import PlannerError
from planner.profiler.schema import Profile
from planner.solver.check import check
from planner.solver.plan import least_memory, make_plan
from planner.solver.request import Request
from planner.solver.schema import Block, BlockInput, Budget, Plan, PlanPrediction, Training
from tests.unit.solver.chains import SGD, zoo_profile

TRAINING = Training(batch=16, epochs=2, samples=500, optimizer=SGD)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return zoo_profile("cnn6", (1, 4, 16))


@pytest.fixture(scope="module")
def plan(profile: Profile) -> Plan:
    """Two blocks; the first has a cut inside and a ladder."""
    least = least_memory(profile, Request(Budget(1, "process"), TRAINING))
    found = make_plan(profile, Request(Budget(least + 2**22, "process"), TRAINING, storage_bytes=2**40))
    assert len(found.blocks) == 2 and len(found.blocks[0].segments) == 2 and found.blocks[0].ladder
    return found


def _signed(plan: Plan) -> Plan:
    return replace(plan, id=content_id(plan))


def _first(plan: Plan, change: Callable[[Block], Block]) -> Plan:
    return replace(plan, blocks=(change(plan.blocks[0]), *plan.blocks[1:]))


def _phase(name: str) -> Callable[[Plan], Plan]:
    def change(block: Block) -> Block:
        phases = block.predicted.peak_bytes_by_phase
        wrong = replace(phases, **{name: getattr(phases, name) + 1})
        return replace(block, predicted=replace(block.predicted, peak_bytes_by_phase=wrong))

    return lambda plan: _first(plan, change)


def _part(name: str) -> Callable[[Plan], Plan]:
    def change(block: Block) -> Block:
        parts = block.predicted.breakdown
        wrong = replace(parts, **{name: getattr(parts, name) + 1}, transient=parts.transient - 1)
        return replace(block, predicted=replace(block.predicted, breakdown=wrong))

    return lambda plan: _first(plan, change)


def _predicted(**wrong: float | str) -> Callable[[Plan], Plan]:
    def change(block: Block) -> Block:
        return replace(block, predicted=replace(block.predicted, **wrong))  # type: ignore[arg-type]

    return lambda plan: _first(plan, change)


def _total(**wrong: float) -> Callable[[Plan], Plan]:
    def change(plan: Plan) -> Plan:
        known: PlanPrediction = plan.predicted
        return replace(plan, predicted=replace(known, **wrong))  # type: ignore[arg-type]

    return change


def _ladder_upside_down(block: Block) -> Block:
    rung = replace(block.ladder[0], micro_batch=block.micro_batch, accumulate=block.accumulate)
    return replace(block, ladder=(rung,))


WRONG: dict[str, Callable[[Plan], Plan]] = {
    "profile": lambda plan: replace(plan, profile_id="0" * 64),
    "baseline": lambda plan: replace(plan, baseline_bytes=plan.baseline_bytes + 1),
    "budget": lambda plan: replace(plan, budget=Budget(plan.predicted.peak_bytes + plan.reserve_bytes - 1, "process")),
    "start": lambda plan: replace(plan, budget=Budget(1, "process"), reserve_bytes=0),
    "reserve": lambda plan: replace(plan, reserve_bytes=plan.budget.bytes - plan.predicted.peak_bytes + 1),
    "storage": lambda plan: replace(plan, storage_bytes=plan.predicted.cache_bytes - 1),
    "minimum": lambda plan: replace(plan, minimum_budget_bytes=plan.budget.bytes + 1),
    "exits": lambda plan: replace(plan, exits=plan.exits[1:]),
    "peak": _total(peak_bytes=1),
    "seconds": _total(seconds_total=1.0),
    "cache": _total(cache_bytes=1),
    "epochs": lambda plan: replace(plan, training=replace(plan.training, epochs=3)),
    "samples": lambda plan: replace(plan, training=replace(plan.training, samples=501)),
    "input": lambda plan: _first(plan, lambda block: replace(block, input=BlockInput("data", 0, 9, "uint8"))),
    "block peak": _predicted(peak_bytes=1),
    "block seconds": _predicted(seconds_per_epoch=1.0),
    "block finish": _predicted(finish_seconds=1.0),
    "binding": _predicted(binding="cache"),
    "train": _phase("train"),
    "cache phase": _phase("cache"),
    "validate": _phase("validate"),
    "save": _phase("save"),
    "runtime": _part("runtime"),
    "data": _part("data"),
    "parameters": _part("parameters"),
    "optimizer": _part("optimizer"),
    "ladder": lambda plan: _first(plan, _ladder_upside_down),
}


@pytest.mark.parametrize("name", WRONG)
def test_finds(name: str, plan: Plan, profile: Profile) -> None:
    check(plan, profile)
    with pytest.raises(PlannerError, match="contradicts its checker"):
        check(_signed(WRONG[name](plan)), profile)


def test_finds_a_wrong_id(plan: Plan, profile: Profile) -> None:
    with pytest.raises(PlannerError, match="id is"):
        check(replace(plan, id="0" * 64), profile)


def test_finds_a_head_that_is_not_profiled(plan: Plan, profile: Profile) -> None:
    ends = [segment.units[1] for block in plan.blocks for segment in block.segments]
    heads = tuple(head for head in profile.heads if head.boundary != ends[0])
    with pytest.raises(PlannerError, match="no head"):
        check(plan, replace(profile, heads=heads))
