"""Plans as documents: complete, deterministic, with ladders and alternatives; and what is said where none fits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from planner.errors import InfeasibleError
from planner.heads.pooled import PooledHead
from planner.schema.codec import content_id, decode, parse_json, to_json
from planner.schema.plan import Alternative, Plan
from planner.schema.profile import ComponentProfile, HeadProfile, Profile
from planner.schema.request import Budget, Preference, Request, Strategy, Training
from planner.schema.runtime import Runtime
from planner.solver.plan import least_memory, make_plan
from planner.solver.predict import predict_block
from planner.solver.problem import CLASSIFIER, BlockChoice, Problem
from tests.heads import heads
from tests.unit.solver.chains import SGD, zoo_profile
from tests.unit.solver.two_units import FIRST, HEAD, SECOND, tiny_profile
from tests.unit.solver.two_units import SGD as TINY_SGD

MIB = 2**20
TRAINING = Training(batch=64, epochs=2, samples=5000, optimizer=SGD)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return zoo_profile("vgg11", (1, 4, 16, 64))


def _request(budget: int, strategy: Strategy = "auto") -> Request:
    return Request(Budget(budget, "process"), TRAINING, strategy=strategy)


@pytest.fixture(scope="module")
def plan(profile: Profile) -> Plan:
    """Below what backpropagation needs, so that there are cuts and blocks."""
    return make_plan(profile, _request(least_memory(profile, _request(1, "backprop")) - 40 * MIB))


def test_round_trip(plan: Plan) -> None:
    assert decode(Plan, parse_json(to_json(plan))) == plan


def _older(value: Any) -> Any:
    """A document without the fields that plans did not have then."""
    later = {"linear_segments", "machine", "request", "fit", "fit_room_bytes", "task", "class_names"}
    later |= {"normalisation", "resize", "shorter_side", "input_dtype", "warmup", "weight_decay_on", "early_epochs"}
    later |= {"polish", "polish_lr"}
    later |= {"window", "overlap", "start"}
    later |= {"accuracy_loss_points"}
    if isinstance(value, dict):
        found = {name: _older(inner) for name, inner in value.items() if name not in later}
        return {name: inner for name, inner in found.items() if name != "epochs" or inner is not None}  # of a block
    return [_older(inner) for inner in value] if isinstance(value, list) else value


def test_plans_from_before_a_segment_needed_a_convolution_keep_their_id_and_say_so(plan: Plan) -> None:
    value = _older(parse_json(to_json(plan))) | {"schema": "plan/1"}
    old = decode(Plan, value)
    assert old.linear_segments
    assert old.request is None
    canonical = json.dumps(value | {"id": None}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert content_id(old) == hashlib.sha256(canonical.replace('"id":null,', "").encode()).hexdigest()


def test_restates_the_request(plan: Plan, profile: Profile) -> None:
    assert (plan.training, plan.strategy, plan.prefer) == (TRAINING, "auto", "balanced")
    assert plan.request == plan.asked == _request(plan.budget.bytes)
    assert (plan.profile_id, plan.model, plan.device) == (profile.id, profile.model, profile.device)
    assert plan.baseline_bytes == profile.runtime.baseline_bytes


def test_carries_the_profiles_calibration(profile: Profile) -> None:
    request = _request(2**40)
    assert make_plan(profile, request).calibration_seconds is None
    assert make_plan(replace(profile, calibration_seconds=0.004), request).calibration_seconds == 0.004


def test_says_where_it_extrapolates(profile: Profile) -> None:
    """Measured up to 64: a batch of 64 lies within, one of 128 in a single micro-batch beyond; smaller rungs do not."""
    within, beyond = (
        make_plan(profile, replace(_request(2**40, "backprop"), training=replace(TRAINING, batch=size))).blocks[0]
        for size in (64, 128)
    )
    assert (within.micro_batch, within.predicted.extrapolated_from) == (64, None)
    assert (beyond.micro_batch, beyond.predicted.extrapolated_from) == (128, 64)
    assert [fallback.predicted.extrapolated_from for fallback in beyond.ladder] == [None] * len(beyond.ladder)


def _up_to(component: ComponentProfile, micro_batch: int) -> ComponentProfile:
    return replace(component, costs=tuple(costs for costs in component.costs if costs.micro_batch <= micro_batch))


def test_the_piece_measured_least_counts_and_only_in_its_own_block() -> None:
    """Heads count as units do: the one between the two units was measured at micro-batch 1 alone."""
    problem = Problem(
        tiny_profile(heads=(HeadProfile(1, "auxiliary", 8, _up_to(HEAD, 1)),)),
        Request(Budget(10**6, "training"), Training(batch=2, epochs=1, samples=4, optimizer=TINY_SGD)),
    )
    first, last = BlockChoice(0, 2, (1,), heads(8)), BlockChoice(1, 2, (2,), (CLASSIFIER,))
    both = BlockChoice(0, 2, (1, 2), heads(8, 0))
    found = [predict_block(problem, choice).extrapolated_from for choice in (first, last, both)]
    assert found == [1, None, 1]
    units = Problem(replace(problem.profile, units=(FIRST, _up_to(SECOND, 1))), problem.request)
    assert [predict_block(units, choice).extrapolated_from for choice in (last, both)] == [1, 1]


def test_generous_budget_means_backpropagation(profile: Profile) -> None:
    request = replace(_request(2**40), prefer="fidelity")
    assert make_plan(profile, request).cuts == 0


def test_below_backpropagation_there_are_cuts(plan: Plan) -> None:
    assert plan.cuts > 0
    assert plan.predicted.peak_bytes <= plan.budget.bytes - plan.reserve_bytes


def test_there_is_an_exit_behind_every_unit_and_at_cuts_it_is_the_head(plan: Plan) -> None:
    heads = {segment.units[1]: segment.head for block in plan.blocks for segment in block.segments}
    assert [exit_.unit for exit_ in plan.exits] == list(range(1, len(plan.model.units) + 1))
    assert len(heads) < len(plan.exits)
    for exit_ in plan.exits:
        assert exit_.head == heads.get(exit_.unit, PooledHead("pooled"))
    assert plan.exits[-1].head is None


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_the_classifier_alone_is_a_segment_only_where_that_is_asked_for(profile: Profile, strategy: Strategy) -> None:
    last, request = len(profile.units) - 1, _request(1, strategy)
    alone = replace(request, linear_segments=True)
    least, least_alone = least_memory(profile, request), least_memory(profile, alone)
    found = make_plan(profile, replace(request, budget=Budget(least, "process")))
    assert not found.linear_segments
    assert all(segment.units[0] < last for block in found.blocks for segment in block.segments)
    asked = make_plan(profile, replace(alone, budget=Budget(least_alone, "process")))
    assert asked.linear_segments
    if strategy in ("classic-local", "neuroflux"):
        assert asked.blocks[-1].segments[-1].units == (last, last + 1)
        assert asked.cuts == found.cuts + 1
    else:
        assert least_alone <= least  # what is sought among is more


def test_every_rung_is_lower(plan: Plan) -> None:
    assert any(block.ladder for block in plan.blocks)
    for block in plan.blocks:
        peaks = [block.predicted.peak_bytes, *(fallback.predicted.peak_bytes for fallback in block.ladder)]
        sizes = [block.micro_batch, *(fallback.micro_batch for fallback in block.ladder)]
        assert peaks == sorted(set(peaks), reverse=True)
        assert sizes == sorted(set(sizes), reverse=True)


def test_alternatives(plan: Plan) -> None:
    others = plan.alternatives
    order = [(other.cuts, other.seconds_total) for other in others]
    assert order == sorted(order)
    assert len(set(others)) == len(others)
    assert all(other.peak_bytes <= plan.budget.bytes - plan.reserve_bytes for other in others)
    # Backpropagation does not fit, and classic local learning needs more than that.
    assert {other.strategy for other in others} == {"auto", "neuroflux"}
    frontier = [other for other in others if other.strategy == "auto"]
    times = [other.seconds_total for other in frontier]
    assert times == sorted(set(times), reverse=True)
    assert len({other.cuts for other in frontier}) == len(frontier)
    assert any((other.cuts, other.seconds_total) == (plan.cuts, plan.predicted.seconds_total) for other in others)


_PRINT_ID = """
from planner.solver.plan import make_plan
from planner.schema.request import Request
from planner.schema.request import Budget
from tests.unit.solver.chains import zoo_profile
from tests.unit.solver.test_plan import TRAINING
request = Request(Budget(320 * 2**20, "process"), TRAINING)
print(make_plan(zoo_profile("vgg11", (1, 4, 16, 64)), request).id)
"""


def test_same_id_whatever_the_hash_seed() -> None:
    root = Path(__file__).parents[3]
    found = [
        subprocess.run(
            [sys.executable, "-c", _PRINT_ID],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(found[0].strip()) == 64
    assert found[0] == found[1]


def test_infeasible_names_the_smallest_budget_and_what_binds(profile: Profile) -> None:
    with pytest.raises(InfeasibleError) as caught:
        make_plan(profile, _request(100 * MIB))
    least = least_memory(profile, _request(1))
    assert caught.value.minimum_bytes == least
    assert caught.value.term == "the runtime (interpreter and torch)"
    assert "100.0 MiB (104857600 bytes)" in str(caught.value) and f"({least} bytes)" in str(caught.value)


def test_infeasible_backpropagation_is_bound_by_weights(profile: Profile) -> None:
    request = replace(_request(1, "backprop"), budget=Budget(10 * MIB, "training"))
    with pytest.raises(InfeasibleError, match="strategy backprop") as caught:
        make_plan(profile, request)
    assert caught.value.term == "weights, gradients and optimizer state"


def test_start_alone_may_need_the_most() -> None:
    tiny = tiny_profile()
    heavy = replace(tiny, runtime=Runtime(0, 10**6, 0, 0, 0))
    training = Training(batch=2, epochs=1, samples=4, optimizer=tiny.optimizer)
    with pytest.raises(InfeasibleError) as caught:
        make_plan(heavy, Request(Budget(10**6 - 1, "process"), training, reserve_bytes=0))
    assert caught.value.minimum_bytes == 10**6
    assert caught.value.term == "the runtime (interpreter and torch)"
    make_plan(heavy, Request(Budget(caught.value.minimum_bytes, "process"), training, reserve_bytes=0))


def test_too_little_storage(profile: Profile) -> None:
    budget = least_memory(profile, _request(1))
    with pytest.raises(InfeasibleError) as caught:
        make_plan(profile, replace(_request(budget), storage_bytes=0))
    assert caught.value.term == "storage for activation caches"
    enough = caught.value.minimum_bytes
    assert make_plan(profile, replace(_request(budget), storage_bytes=enough)).predicted.cache_bytes == enough
    with pytest.raises(InfeasibleError):
        make_plan(profile, replace(_request(budget), storage_bytes=enough - 1))


def test_solver_does_not_need_torch() -> None:
    code = "import sys, planner.solver.plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("prefer", get_args(Preference))
def test_a_bound_on_lost_accuracy_is_kept_and_a_little_more_loss_may_be_faster(
    profile: Profile, plan: Plan, prefer: Preference
) -> None:
    free = replace(_request(plan.budget.bytes), prefer=prefer)
    lost = make_plan(profile, replace(free, prefer="speed")).predicted.accuracy_loss_points
    least = make_plan(profile, replace(free, prefer="fidelity")).predicted.accuracy_loss_points
    assert lost is not None and least is not None and 0 < least.expected <= lost.expected
    for points in (least.expected, (least.expected + lost.expected) / 2, lost.expected):
        found = make_plan(profile, replace(free, max_accuracy_loss=points))
        assert found.predicted.accuracy_loss_points is not None
        assert found.predicted.accuracy_loss_points.expected <= points
        assert all(_points(other) <= points for other in found.alternatives)
    with pytest.raises(InfeasibleError, match="lose at most"):
        make_plan(profile, replace(free, max_accuracy_loss=least.expected - 0.01))


def _points(other: Alternative) -> float:
    assert other.accuracy_loss_points is not None
    return other.accuracy_loss_points.expected
