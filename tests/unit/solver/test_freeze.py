"""Units that are not trained: what plans begin with behind them, what that takes, and how many there may be.

That the best of these plans is found is `test_oracle_campaign`'s.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.errors import InfeasibleError, InputError, PlannerError
from planner.schema.plan import Plan
from planner.schema.profile import ComponentProfile, Profile
from planner.schema.request import Budget, Preference, Request, Strategy, Training
from planner.solver.checker.check import check
from planner.solver.explain.advice import advice
from planner.solver.explain.frontier import frontier
from planner.solver.memory_model import live_bytes, time_ns
from planner.solver.plan import least_memory, make_plan
from planner.solver.predict import predict_block
from planner.solver.problem import CLASSIFIER, BlockChoice, Problem
from planner.solver.unit_bytes import unit_bytes
from planner.units import MIB
from tests.unit.solver.chains import SGD, zoo_profile
from tests.unit.solver.checked_plans import plan_of, problem_of, runs, signed
from tests.unit.solver.random_profiles import Case, cases
from tests.unit.solver.two_units import FIRST, SECOND, tiny_profile
from tests.unit.solver.two_units import SGD as TINY_SGD

STRATEGIES: tuple[Strategy, ...] = ("auto", "backprop", "checkpoint", "classic-local", "neuroflux")
PREFERENCES: tuple[Preference, ...] = ("speed", "balanced", "fidelity")
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

TRAINING = Training(batch=2, epochs=3, samples=5, optimizer=TINY_SGD, freeze=1)
CACHED = BlockChoice(1, 2, (2,), (CLASSIFIER,), source="cache")
"""The second of the two units, behind the frozen first one."""
AGAIN = replace(CACHED, source="recompute")


def _begins_behind(plan: Plan, count: int) -> None:
    """No unit before `count` is part of anything that trains, and nobody reads the data set from their inside."""
    assert plan.blocks[0].units[0] == count
    spans = [segment.units for block in plan.blocks for segment in block.segments]
    assert min(first for first, _ in spans) == count
    assert all(found.unit > count for found in plan.exits)
    kinds = {"cache", "recompute"} if count else {"data"}
    assert plan.blocks[0].input.kind in kinds


@settings(max_examples=60, suppress_health_check=QUIET, derandomize=True)
@given(
    cases().filter(lambda case: case.training.freeze > 0),
    st.sampled_from(STRATEGIES),
    st.sampled_from(PREFERENCES),
    st.sampled_from((1, 1, 2, 10)),
)
def test_no_plan_trains_a_frozen_unit(case: Case, strategy: Strategy, prefer: Preference, times: int) -> None:
    request = Request(Budget(1, case.scope), case.training, strategy=strategy, prefer=prefer)
    try:
        budget = times * least_memory(case.profile, request)
    except InputError:
        assume(False)  # no micro-batch is large enough
    plan = make_plan(case.profile, replace(request, budget=Budget(budget, case.scope)))
    _begins_behind(plan, case.training.freeze)


def test_filling_a_cache_is_counted_to_the_byte_and_nanosecond() -> None:
    problem = problem_of(tiny_profile(), training=TRAINING)
    live, time = live_bytes(problem, CACHED), time_ns(problem, CACHED)
    # Two buffers of 35 bytes of image and 8 of label, labels, and the images as float32, for two samples; parameters
    # and buffers of the first unit; its inference; the cache's writer. No gradient, no momentum, nothing of the block.
    assert live.fill == (2 * 2 * 43 + 16 + 4 * 2 * 35) + 110 + 120 + (65536 + 2 * 16)
    assert live.cache == 0
    # Writing: 5 records of 40 + 8 bytes at 2 MB/s, and 5 samples at 8 µs for two. Every epoch reads them at 1 MB/s.
    assert time.finish == 120_000 + 20_000
    assert time.epoch == 240_000
    predicted = predict_block(problem, CACHED)
    assert predicted.peak_bytes_by_phase.cache == problem.process.resident(live.fill) == predicted.peak_bytes
    assert predicted.finish_seconds == 140e-6


def test_the_checker_counts_the_same_and_finds_what_was_left_out() -> None:
    problem = problem_of(tiny_profile(), training=TRAINING)
    for choice in (CACHED, AGAIN):
        (run,) = runs(problem, choice)
        assert run.phases() == predict_block(problem, choice).peak_bytes_by_phase
    plan = plan_of(problem, CACHED)
    (block,) = plan.blocks
    forgotten = replace(block.predicted.peak_bytes_by_phase, cache=0)
    for change, said in (
        ({"peak_bytes_by_phase": forgotten}, "peak_bytes_by_phase.cache is 0"),
        ({"finish_seconds": 0.0}, "finish_seconds is 0.0, computed 0.00014"),
    ):
        wrong = replace(block, predicted=replace(block.predicted, **change))
        with pytest.raises(PlannerError, match=said):
            check(signed(replace(plan, blocks=(wrong,))), problem.profile)


@pytest.mark.parametrize("choice", [CACHED, AGAIN], ids=["cached", "recomputed"])
def test_of_a_frozen_unit_its_weights_and_buffers_count_and_nothing_of_training(choice: BlockChoice) -> None:
    def predicted(first: ComponentProfile) -> object:
        return predict_block(problem_of(tiny_profile((first, SECOND)), training=TRAINING), choice)

    untrained = replace(
        FIRST, optimizer_bytes=10**9, step_transient_bytes=10**9, step_seconds=10.0, minimum_micro_batch=2
    )
    assert predicted(untrained) == predicted(FIRST)
    heavier = problem_of(
        tiny_profile((replace(FIRST, buffer_bytes=FIRST.buffer_bytes + 1000), SECOND)), training=TRAINING
    )
    usual = problem_of(tiny_profile(), training=TRAINING)
    more, less = live_bytes(heavier, choice), live_bytes(usual, choice)
    if choice is CACHED:
        assert (more.fill, more.train) == (less.fill + 1000, less.train)
    else:
        assert (more.train, more.validate) == (less.train + 1000, less.validate + 1000)


def test_without_storage_the_frozen_units_run_in_every_epoch() -> None:
    request = Request(Budget(10**6, "training"), TRAINING, prefer="speed", reserve_bytes=0)
    profile = tiny_profile()
    # Reading 240 µs an epoch is slower here than running the unit again, 20 µs; with a fast disk it is not.
    assert make_plan(profile, request).blocks[0].input.kind == "recompute"
    quick = replace(
        profile, storage=replace(profile.storage, write_bytes_per_second=10**9, read_bytes_per_second=10**9)
    )
    assert make_plan(quick, request).blocks[0].input.kind == "cache"
    request = replace(request, cache_dtype="float32")
    cached = make_plan(quick, replace(request, storage_bytes=240))
    assert (cached.blocks[0].input.kind, cached.predicted.cache_bytes) == ("cache", 240)
    again = make_plan(quick, replace(request, storage_bytes=239))
    assert (again.blocks[0].input.kind, again.predicted.cache_bytes) == ("recompute", 0)


@pytest.mark.parametrize("strategy", STRATEGIES[:-1])
def test_a_cache_that_storage_does_not_hold_makes_no_budget_smaller(strategy: Strategy) -> None:
    """On a GPU a cache is the smaller input; it was counted as the least of `checkpoint` though there was no room."""
    profile = tiny_profile()
    profile = replace(profile, device=replace(profile.device, kind="cuda"))
    request = Request(Budget(1, "process"), TRAINING, strategy=strategy, storage_bytes=0, reserve_bytes=0)
    least = least_memory(profile, request)
    plan = make_plan(profile, replace(request, budget=Budget(least, "process")))
    assert plan.blocks[0].input.kind == "recompute"
    assert plan.predicted.peak_bytes == least
    assert least_memory(profile, replace(request, storage_bytes=None)) < least


@pytest.mark.parametrize("count", [2, 3, 1000])
def test_more_than_all_but_one_unit_cannot_be_frozen(count: int) -> None:
    request = Request(Budget(10**6, "training"), replace(TRAINING, freeze=count))
    for ask in (make_plan, least_memory):
        with pytest.raises(
            InputError, match=rf"freeze is {count}; it must lie between 0 and 1: the network has 2 units"
        ):
            ask(tiny_profile(), request)


def test_fewer_than_none_cannot_be_frozen() -> None:
    with pytest.raises(ValueError, match="freeze is -1; it must lie between 0"):
        replace(TRAINING, freeze=-1)


def test_batch_normalisation_of_frozen_units_asks_for_no_micro_batch() -> None:
    needy = replace(FIRST, minimum_micro_batch=2)
    request = Request(Budget(10**6, "training"), replace(TRAINING, batch=1), reserve_bytes=0)
    _begins_behind(make_plan(tiny_profile((needy, SECOND)), request), 1)
    with pytest.raises(InputError, match="batch normalisation needs at least 2"):
        Problem(tiny_profile((needy, SECOND)), replace(request, training=replace(TRAINING, batch=1, freeze=0)))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return zoo_profile("vgg11", (1, 4, 16, 64))


def _request(freeze: int, strategy: Strategy = "auto", budget: int = 2**40) -> Request:
    training = Training(batch=64, epochs=2, samples=5000, optimizer=SGD, freeze=freeze)
    return Request(Budget(budget, "process"), training, strategy=strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("freeze", [1, 4, 8])
def test_every_strategy_its_least_budget_and_its_rungs_begin_behind_the_frozen_units(
    profile: Profile, strategy: Strategy, freeze: int
) -> None:
    request = _request(freeze, strategy)
    least = least_memory(profile, request)
    for budget in (2**40, least):
        plan = make_plan(profile, replace(request, budget=Budget(budget, "process")))
        _begins_behind(plan, freeze)
        assert plan.minimum_budget_bytes == least
        assert all(other.peak_bytes + plan.reserve_bytes <= budget for other in plan.alternatives)
    if strategy in ("backprop", "checkpoint"):
        assert [block.units for block in plan.blocks] == [(freeze, len(profile.units))] and plan.cuts == 0
    with pytest.raises(InfeasibleError) as caught:
        make_plan(profile, replace(request, budget=Budget(least - 1, "process")))
    assert caught.value.minimum_bytes == least
    assert advice(profile, replace(request, budget=Budget(least - 1, "process")), caught.value)


def test_what_is_frozen_needs_neither_gradients_nor_momentum(profile: Profile) -> None:
    frozen = len(profile.units) - 1
    whole, last = (least_memory(profile, _request(freeze, "backprop")) for freeze in (0, frozen))
    assert whole - last > 2 * sum(unit.parameter_bytes for unit in profile.units[:frozen])


def test_the_frontier_honours_it(profile: Profile) -> None:
    points = frontier(profile, _request(4), solves=4)
    assert points[0].budget_bytes == least_memory(profile, _request(4))
    assert points[-1].seconds_total < frontier(profile, _request(0), solves=2)[-1].seconds_total


def test_units_are_listed_with_what_frozen_ones_take(profile: Profile) -> None:
    plan = make_plan(profile, _request(3, budget=least_memory(profile, _request(3)) + 20 * MIB))
    found = [unit for unit in unit_bytes(profile, plan) if unit.kind == "unit"]
    assert [unit.unit for unit in found] == list(range(len(profile.units)))
    assert [unit.frozen for unit in found] == [True] * 3 + [False] * (len(found) - 3)
    for unit, component in zip(found[:3], profile.units, strict=False):
        assert unit.parameters_bytes == component.parameter_bytes + component.buffer_bytes
        assert (unit.gradients_bytes, unit.optimizer_bytes, unit.activations_bytes) == (0, 0, 0)
