"""No bound lies above what it bounds: every block that can be, frozen units in front of it or not."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings

from planner.schema.request import Budget, Request
from planner.solver.problem import Problem
from planner.solver.search.bounds import INF, BlockBounds
from planner.solver.search.segment_tables import SegmentTables
from tests.unit.solver.oracle import Oracle
from tests.unit.solver.random_profiles import Case, cases
from tests.unit.solver.requests import trainable


def _may_be_cut(oracle: Oracle, boundary: int) -> bool:
    """Whether what is before it, and what is behind, has convolutions enough."""
    before, behind = (oracle.start, boundary), (boundary, oracle.count)
    return all(first == end or oracle.may_be_segment(first, end) for first, end in (before, behind))


@settings(max_examples=60, suppress_health_check=(HealthCheck.too_slow,), derandomize=True)
@given(cases(3))
def test_time_and_bytes_are_bounded_from_below(case: Case) -> None:
    assume(trainable(case))
    request = Request(
        Budget(1, case.scope),
        case.training,
        reserve_bytes=case.reserve_bytes,
        head_time_share=case.head_time_share,
        linear_segments=case.linear_segments,
        overlap=case.overlap,
    )
    problem = Problem(case.profile, request)
    space = SegmentTables(problem)
    bounds, boundaries = BlockBounds(space), space.block_boundaries.tolist()
    oracle = Oracle(
        case.profile,
        case.training,
        None,
        case.head_time_share,
        linear_segments=case.linear_segments,
        overlap=case.overlap,
    )
    for (span, source, caches), found in oracle.blocks.items():
        if not all(_may_be_cut(oracle, boundary) for boundary in span):
            continue  # no plan has such a block
        place = boundaries.index(span[0]), boundaries.index(span[1]) - 1
        if not found:  # no convolution between the two, or batch normalisation needs more samples than there are
            assert bounds.total(INF - 1, None, source, caches)[0][place] >= INF
        for setting in found:
            count = len(setting.ends)
            for most in (None, count, count + 1):
                table = bounds.total(setting.live_bytes, most, source, caches)
                assert table[0 if most is None else min(most, bounds.count) - 1][place] <= setting.time_ns
            tables = [bounds.live_at(source, caches, count, mode) for mode in space.modes()]
            assert min(int(table[place]) for table in tables) <= setting.live_bytes
        for other in {"data", "cache", "recompute"} - set(problem.sources(span[0])):
            assert bounds.total(INF, None, other, caches)[0][place] >= INF  # type: ignore[arg-type]  # a literal
