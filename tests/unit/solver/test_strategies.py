"""Each strategy against its definition, on the oracle's own figures."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.heads.convolution import ConvHead
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, Traces
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import make_plan
from planner.solver.problem import BlockChoice, Problem
from planner.solver.search.search import Search
from planner.solver.strategies import make_planners
from tests.heads import filters_of, heads
from tests.unit.solver.oracle import Oracle
from tests.unit.solver.random_profiles import Case, cases
from tests.unit.solver.two_units import HEAD, SGD, component, tiny_profile, trace


@st.composite
def limited(draw: st.DrawFn) -> tuple[Case, Problem, Oracle, int]:
    """A case, its problem, the oracle, and live bytes among those that its plans need."""
    case = draw(cases())
    try:
        problem = Problem(
            case.profile,
            Request(
                Budget(1, case.scope),
                case.training,
                head_time_share=case.head_time_share,
                grouping_threshold=draw(st.sampled_from((0.3, 0.4, 0.7))),
                linear_segments=case.linear_segments,
                overlap=case.overlap,
            ),
        )
    except InputError:
        assume(False)
        raise
    oracle = Oracle(
        case.profile,
        case.training,
        None,
        case.head_time_share,
        linear_segments=case.linear_segments,
        overlap=case.overlap,
    )
    levels = sorted({setting.live_bytes for found in oracle.blocks.values() for setting in found})
    return case, problem, oracle, levels[round(draw(st.floats(0, 1)) * (len(levels) - 1))]


QUICK = settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
)


def _legal_sizes(oracle: Oracle, span: tuple[int, int], ends: tuple[int, ...], filters: tuple[int, ...]) -> list[int]:
    components = (*oracle.profile.units, *oracle.heads.values())
    reach = 4 * min(component.costs[-1].micro_batch for component in components)
    low = max(component.minimum_micro_batch for component in oracle.components(span, ends, filters))
    batch = oracle.training.batch
    return [size for size in range(low, min(batch, reach) + 1) if batch % size == 0]


def _one_block(oracle: Oracle, ends: tuple[int, ...], filters: tuple[int, ...], limit: int) -> list[BlockChoice] | None:
    first = oracle.training.freeze
    span, sources = (first, oracle.count), ("cache", "recompute") if first else ("data",)
    found = [
        oracle.setting(span, size, ends, filters, source=source)  # type: ignore[arg-type]  # a literal
        for size in _legal_sizes(oracle, span, ends, filters)
        for source in sources
    ]
    fitting = [setting for setting in found if setting.live_bytes <= limit]
    if not fitting:
        return None
    best = min(fitting, key=lambda setting: (setting.time_ns, -setting.micro_batch, setting.source))
    windows = oracle.windows(ends)
    return [BlockChoice(first, best.micro_batch, ends, heads(*filters), source=best.source, windows=windows)]


def _shortest(oracle: Oracle) -> tuple[int, ...]:
    """Where segments end, each as late as it can without one more unit that convolves: what does not joins it."""
    start, ends = oracle.start, []
    for end, later in itertools.pairwise(oracle.boundaries):
        if all(oracle.may_be_segment(*span) for span in ((start, end), (end, later), (end, oracle.count))):
            ends.append(end)
            start = end
    return (*ends, oracle.count)


@QUICK
@given(limited())
def test_backprop_is_one_segment_at_its_fastest(found: tuple[Case, Problem, Oracle, int]) -> None:
    _, problem, oracle, limit = found
    plan = make_planners(problem, Search(problem))["backprop"].plan(limit)
    assert (list(plan) if plan else None) == _one_block(oracle, (oracle.count,), (0,), limit)


@QUICK
@given(limited())
def test_classic_local_is_one_block_of_widest_heads(found: tuple[Case, Problem, Oracle, int]) -> None:
    _, problem, oracle, limit = found
    plan = make_planners(problem, Search(problem))["classic-local"].plan(limit)
    ends = _shortest(oracle)
    standing = [end + oracle.window(end) for end in ends]
    widest = tuple(max(width for place, width in oracle.heads if place == boundary) for boundary in standing)
    assert (list(plan) if plan else None) == _one_block(oracle, ends, widest, limit)


@QUICK
@given(limited())
def test_neuroflux_groups_by_feasible_micro_batch(found: tuple[Case, Problem, Oracle, int]) -> None:
    _, problem, oracle, limit = found
    plan = make_planners(problem, Search(problem))["neuroflux"].plan(limit)

    def preferred(ends: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(oracle.preferred[end + oracle.window(end)] for end in ends)

    def largest(first: int, end: int) -> int | None:
        ends = tuple(boundary for boundary in _shortest(oracle) if first < boundary <= end)
        filters = preferred(ends)
        sizes = _legal_sizes(oracle, (first, end), ends, filters)
        return max(
            (s for s in sizes if oracle.setting((first, end), s, ends, filters).live_bytes <= limit), default=None
        )

    groups: list[list[int]] = []
    for first, end in itertools.pairwise([oracle.training.freeze, *_shortest(oracle)]):
        alone = largest(first, end)
        if alone is None:
            assert plan is None
            return
        near = groups and abs(alone - groups[-1][2]) <= problem.request.grouping_threshold * groups[-1][2]
        if near and largest(groups[-1][0], end) is not None:
            groups[-1][1] = end
        else:
            groups.append([first, end, alone])
    assert plan is not None
    assert [(choice.first, choice.last) for choice in plan] == [(first, end) for first, end, _ in groups]
    assert [choice.micro_batch for choice in plan] == [largest(first, end) for first, end, _ in groups]
    assert all(filters_of(choice.heads) == preferred(choice.ends) for choice in plan)
    assert all(choice.windows == oracle.windows(choice.ends) for choice in plan)


def test_speed_takes_a_strategy_that_wider_heads_make_faster() -> None:
    # The wide head between the units is as fast as the narrow one and takes hardly any memory; the preferred width is
    # the narrow one, since neither stays within a share of 0. Only classic-local may use it.
    def unit() -> ComponentProfile:
        table = tuple(
            Costs(
                size,
                Traces(*[trace(100 * size, 50 * size, 100 * size)] * 6),
                size * 4,
                0,
                size * 4,
                9e-6 * size,
                0.0,
                0.0,
                0.0,
            )
            for size in (1, 2)
        )
        return component((0, 0, 0), 0, 4, table)

    cheap = replace(HEAD, parameter_bytes=0, optimizer_bytes=0, step_seconds=0.0, costs=unit().costs)
    quick = tuple(replace(cost, forward_seconds=1e-7, backward_seconds=0.0) for cost in cheap.costs)
    heads = (
        HeadProfile(1, "auxiliary", 8, replace(cheap, parameter_bytes=10**6, optimizer_bytes=10**6)),
        HeadProfile(1, "auxiliary", 16, replace(cheap, costs=quick)),
    )
    profile = tiny_profile((unit(), unit()), heads)
    slow_uncut = replace(profile.units[1], costs=tuple(replace(c, backward_seconds=1e-4) for c in unit().costs))
    profile = replace(profile, units=(profile.units[0], slow_uncut))
    request = Request(
        Budget(10**5, "training"),
        Training(batch=2, epochs=1, samples=4, optimizer=SGD),
        prefer="speed",
        reserve_bytes=0,
        head_time_share=0.0,
        storage_bytes=0,
    )
    plan = make_plan(profile, request)
    seconds = {other.strategy: other.seconds_total for other in plan.alternatives}
    assert seconds["classic-local"] < seconds["backprop"]
    assert plan.predicted.seconds_total == seconds["classic-local"]
    head = plan.blocks[0].segments[0].head
    assert head == ConvHead("auxiliary", 16)
