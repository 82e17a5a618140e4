"""The search against brute force: optimum, feasibility and smallest budget, on thousands of small problems."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.errors import InfeasibleError, InputError
from planner.profiler.schema import Costs, HeadProfile, Traces
from planner.solver.plan import least_memory, make_plan
from planner.solver.problem import Problem
from planner.solver.request import Request
from planner.solver.schema import Budget, Plan, Preference, Strategy, Training
from planner.solver.search import fastest
from planner.solver.space import Space
from tests.unit.solver.oracle import Oracle, Setting
from tests.unit.solver.small import Case, cases
from tests.unit.solver.tiny import costs, piece, tiny_profile, trace

PREFERENCES: tuple[Preference, ...] = ("speed", "balanced", "fidelity")
STRATEGIES: tuple[Strategy, ...] = ("auto", "backprop", "classic-local", "neuroflux")
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large)


def _oracle(case: Case, storage: int | None) -> Oracle:
    return Oracle(case.profile, case.training, storage, case.head_time_share)


def _request(case: Case, budget: int, storage: int | None, prefer: Preference = "speed") -> Request:
    return Request(
        budget=Budget(max(budget, 1), case.scope),
        training=case.training,
        storage_bytes=storage,
        prefer=prefer,
        reserve_bytes=case.reserve_bytes,
        head_time_share=case.head_time_share,
    )


def _trainable(case: Case) -> bool:
    pieces = [*case.profile.units, case.profile.heads[-1].cost]
    reach = 4 * min(piece.costs[-1].micro_batch for piece in (*pieces, *(head.cost for head in case.profile.heads)))
    sizes = [size for size in range(1, case.training.batch + 1) if case.training.batch % size == 0 and size <= reach]
    return max(sizes) >= max(piece.minimum_micro_batch for piece in pieces)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Case, int | None, Oracle, int]:
    """A case, its storage, the oracle's word on it, and a limit of live bytes at which something just fits.

    Half of them are without storage: in a single block, static bytes and dynamic peaks are traded most.
    """
    one_block = draw(st.booleans())
    case = draw(cases(6 if one_block else 5))
    assume(_trainable(case))
    storage = 0 if one_block else None
    if not one_block and draw(st.booleans()):
        records = [unit.output_bytes + 8 for unit in case.profile.units]
        storage = case.training.samples * sum(draw(st.lists(st.sampled_from(records), max_size=2)))
    oracle = _oracle(case, storage)
    levels = sorted({setting.live_bytes for settings_ in oracle.blocks.values() for setting in settings_})
    position = draw(st.floats(0, 1)) * (len(levels) - 1)
    return case, storage, oracle, levels[round(position)]


def _agrees(problem: tuple[Case, int | None, Oracle, int]) -> None:
    case, storage, oracle, limit = problem
    asked = Problem(case.profile, _request(case, 1, storage))
    found = fastest(asked, Space(asked), limit)
    assert {segments: plan.time for segments, plan in found.items()} == oracle.frontier(limit)
    least = oracle.budget(oracle.smallest_live(), case.scope, case.reserve_bytes)
    assert least_memory(case.profile, _request(case, 1, storage)) == least
    budget = oracle.budget(limit, case.scope, case.reserve_bytes)
    frontier = oracle.frontier(_most_live(oracle, case, budget))
    for prefer in PREFERENCES:
        request = _request(case, budget, storage, prefer)
        if not frontier:
            with pytest.raises(InfeasibleError) as caught:
                make_plan(case.profile, request)
            if "storage" not in caught.value.term:
                assert caught.value.minimum_bytes == least
        else:
            plan = make_plan(case.profile, request)
            assert plan.minimum_budget_bytes == least
            _preferred(plan, oracle, frontier, prefer)


def _most_live(oracle: Oracle, case: Case, budget: int) -> int:
    """The live bytes that a budget leaves: more than the drawn limit where the start's peak sets the budget."""
    levels = {setting.live_bytes for found in oracle.blocks.values() for setting in found}
    return max(level for level in levels if oracle.budget(level, case.scope, case.reserve_bytes) <= budget)


def _settings(plan: Plan, oracle: Oracle) -> list[Setting]:
    return [
        oracle.setting(
            block.units,
            block.micro_batch,
            tuple(segment.units[1] for segment in block.segments),
            tuple(segment.head.filters if segment.head else 0 for segment in block.segments),
        )
        for block in plan.blocks
    ]


def _preferred(plan: Plan, oracle: Oracle, frontier: dict[int, int], prefer: Preference) -> None:
    chosen = _settings(plan, oracle)
    assert plan.predicted.seconds_total == sum(setting.true_ns for setting in chosen) / 1e9
    key = sum(setting.key_ns for setting in chosen)
    segments = plan.cuts + 1
    least = min(frontier.values())
    if prefer == "speed":
        best = min((key, segments) for segments, key in frontier.items())
        others = {other.seconds_total for other in plan.alternatives if other.strategy != "auto"}
        assert (key, segments) == best or plan.predicted.seconds_total in others
        assert all(plan.predicted.seconds_total <= seconds for seconds in others)
    elif prefer == "balanced":
        assert (segments, key) == min((count, time) for count, time in frontier.items() if 10 * time <= 11 * least)
    else:
        assert (segments, key) == min(frontier.items())


@settings(max_examples=300, deadline=None, suppress_health_check=QUIET, derandomize=True)
@given(problems())
def test_agrees_with_brute_force(problem: tuple[Case, int | None, Oracle, int]) -> None:
    _agrees(problem)


@settings(max_examples=40, deadline=None, suppress_health_check=QUIET, derandomize=True)
@given(cases())
def test_more_memory_is_never_slower(case: Case) -> None:
    assume(_trainable(case))
    problem = Problem(case.profile, _request(case, 1, None))
    space = Space(problem)
    levels = sorted({setting.live_bytes for found in _oracle(case, None).blocks.values() for setting in found})
    times = [min(plan.time for plan in found.values()) for level in levels if (found := fastest(problem, space, level))]
    assert times == sorted(times, reverse=True)


@settings(max_examples=100, deadline=None, suppress_health_check=QUIET, derandomize=True)
@given(cases(), st.sampled_from(STRATEGIES), st.booleans())
def test_smallest_budget_fits_and_one_byte_less_does_not(case: Case, strategy: Strategy, stored: bool) -> None:
    assume(_trainable(case))
    request = replace(_request(case, 1, None if stored else 0), strategy=strategy)
    try:
        least = least_memory(case.profile, request)
    except InfeasibleError as error:
        assert not stored and strategy == "neuroflux" and "storage" in error.term
        return
    except InputError:
        assume(False)
    plan = make_plan(case.profile, replace(request, budget=Budget(least, case.scope)))
    assert plan.minimum_budget_bytes == least
    assert plan.predicted.peak_bytes <= least - case.reserve_bytes
    with pytest.raises(InfeasibleError):
        make_plan(case.profile, replace(request, budget=Budget(least - 1, case.scope)))


def test_least_memory_may_be_at_the_larger_micro_batch() -> None:
    # One block, since there is no storage. At micro-batch 2 nothing accumulates, so gradients live one segment at a
    # time: data 468, weights and momentum 4000, at the first step 1000 of gradients and the held output of 2·4 bytes.
    # At micro-batch 1 all 2000 of gradients are resident: at least 234 + 6000. Uncut at 2: 468 + 4000 + 2000.
    def costs_of(bytes_: int) -> tuple[Costs, ...]:
        return tuple(costs(size, Traces(*[trace(*[size * bytes_] * 4)] * 6), 0, (1, 1, 1, 1)) for size in (1, 2))

    unit = piece((1000, 0, 0), 0, 4, costs_of(100))
    head = HeadProfile(1, "auxiliary", 8, piece((0, 0, 0), 0, 4, costs_of(0)))
    profile = tiny_profile((unit, unit), (head,))
    training = Training(batch=2, epochs=1, samples=4, optimizer=profile.optimizer)
    request = Request(Budget(1, "training"), training, storage_bytes=0, reserve_bytes=0)
    assert least_memory(profile, request) == 5476 + 5 + 55


@pytest.mark.long
@settings(max_examples=10_000, deadline=None, suppress_health_check=QUIET)
@given(problems())
def test_agrees_with_brute_force_at_length(problem: tuple[Case, int | None, Oracle, int]) -> None:
    _agrees(problem)
