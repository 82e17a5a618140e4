"""A block played out is what can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.schema.prediction import PhasePeaks
from planner.schema.profile import ComponentProfile, HeadProfile, Trace
from planner.solver.checker.check import check
from planner.solver.checker.ledger import BlockRun
from planner.solver.problem import BlockChoice
from tests.heads import heads
from tests.unit.solver.checked_plans import (
    AGAIN,
    CACHED,
    CACHING,
    HEADS,
    ONE,
    PASSED,
    plan_of,
    problem_of,
    runs,
    stepping_profile,
    unit,
    with_policies,
)
from tests.unit.solver.two_units import FIRST, HEAD, SECOND, tiny_profile, trace

# Images of 35 bytes and labels of 8: two read buffers 2·2·43 = 172, the batch as float32 2·35·4 = 280, labels 2·8 = 16.
DATA = 468


def test_a_block_that_caches_and_one_that_reads_it() -> None:
    # First: weights 110 + 24, momentum 120, backward 350 + 20 of the head's gradients; inference 120, the writer
    # 65536 + 2·16, for test samples too. Second: two buffers 2·2·48, labels 16; backward 160; inference 60. Overhead 5
    # and a hundredth.
    first, second = runs(problem_of(tiny_profile()), CACHING, CACHED)
    assert first.phases() == PhasePeaks(train=1092 + 16, cache=66290 + 668, validate=66290 + 668, save=134 + 7)
    assert second.phases() == PhasePeaks(train=468 + 10, cache=0, validate=318 + 9, save=50 + 6)
    # 10+15 + 2+3 a micro-batch and 3 steps of 4+1; inference 8 and 5·48 bytes at 2 MB/s. Reading takes 240.
    assert (first.epoch_ns(), first.finish_ns()) == (75_000 + 15_000, 20_000 + 120_000)
    assert (second.epoch_ns(), second.finish_ns()) == (240_000, 0)
    assert [(run.read_bytes(), run.written_bytes()) for run in (first, second)] == [(0, 240), (240, 0)]


def test_a_block_that_runs_the_units_before_it_again() -> None:
    # Images as for the first block, and the prefix's output 2·40. Weights 50 + 110, momentum 50. Training: backward
    # 160, the prefix 120. Validating: the prefix's 120. 8 of inference, 6+7, 1+1 a micro-batch; 3 steps of 2.
    first, second = runs(problem_of(tiny_profile()), PASSED, AGAIN)
    assert second.data() == DATA + 80
    live = 548 + 160 + 50 + 160
    assert second.phases() == PhasePeaks(train=live + 15, cache=0, validate=548 + 160 + 120 + 14, save=160 + 7)
    assert (second.epoch_ns(), second.finish_ns()) == (57_500 + 6_000, 0)
    assert (first.phases().cache, first.finish_ns(), first.written_bytes(), second.read_bytes()) == (0, 0, 0, 0)


def test_frozen_units_may_be_the_highest_moment_of_training() -> None:
    # Frozen units hand on their outputs: 2·40 + 500. Nothing else is dynamic then.
    larger = replace(SECOND, costs=tuple(replace(cost, inference_peak_bytes=500) for cost in SECOND.costs))
    profile = tiny_profile((FIRST, larger, SECOND), HEADS)
    _, second = runs(
        problem_of(profile), BlockChoice(0, 2, (2,), heads(8)), BlockChoice(2, 2, (3,), heads(0), source="recompute")
    )
    # Images 468 and the prefix's output 2·8; weights 110 + 50 + 50, momentum 50.
    assert second.training.peak == 484 + 210 + 50 + 580
    assert second.training.peak_parts == {(0, 0)}
    assert second.phases().validate == 484 + 210 + 580 + 5 + 13


def test_the_smaller_setting_of_a_block_that_runs_units_again() -> None:
    # At 1: data 2·43 + 8 + 140 + 40 = 274, weights 160, momentum and gradients of the trained unit 50, backward 85.
    plan = plan_of(problem_of(tiny_profile()), PASSED, AGAIN)
    assert BlockRun(plan, tiny_profile(), 1, 1).phases().train == 274 + 160 + 50 + 50 + 85 + 5 + 7


def test_a_block_between_that_runs_units_again_and_caches() -> None:
    # The prefix's 120 and the writer's 65568 above 548 of data and 50 + 24 + 110 of weights. Inference 8 + 5 a
    # micro-batch, and 5 records of 16 bytes at 2 MB/s; it stores what it writes, the next what it reads.
    problem = problem_of(tiny_profile((FIRST, SECOND, SECOND), HEADS))
    last = BlockChoice(2, 2, (3,), heads(0), source="cache")
    _, middle, third = runs(problem, PASSED, BlockChoice(1, 2, (2,), heads(8), source="recompute", caches=True), last)
    assert middle.phases().cache == 66420 + 5 + 665
    assert middle.finish_ns() == 32_500 + 40_000
    assert [(run.read_bytes(), run.written_bytes()) for run in (middle, third)] == [(0, 80), (80, 0)]


LARGE = trace(300, 200, 210)
MIDDLE = trace(150, 90, 120, 10**6)


@pytest.mark.parametrize(
    ("units", "spans", "level", "moment"),
    [
        # Forward 130, 80 + 60, 16 + 20; backward 16 + 25; again 16 + 300 and 16 + 200 + 150; 200 + 120, 210 + 50.
        ((unit(40, 130, LARGE), unit(8, 60, inner=MIDDLE)), ((0, 2),), 366, (200, 0)),
        # In the first forward a unit's input is there: 2·40 + 400; not the first unit's, which others count.
        ((unit(40, 130, LARGE), unit(8, 400, inner=MIDDLE)), ((0, 2),), 480, (0, 0)),
        ((unit(40, 500, LARGE), unit(8, 400, inner=MIDDLE)), ((0, 2),), 500, (0, 0)),
        # Below the second span lies the first one's output, not its input: 80 + 16 + 450.
        ((unit(40, 130, LARGE), unit(8, 60, inner=trace(450, 90, 120))), ((0, 1), (1, 2)), 546, (80, 0)),
        # Where one unit is kept, the other runs again above it: 200 + 16 + 450; or below it: 80 of gradient + 50 + 300.
        ((unit(40, 130, LARGE), unit(8, 60, inner=trace(450, 90, 120))), ((1, 2),), 666, (200, 0)),
        ((unit(40, 130, LARGE), unit(8, 60, inner=MIDDLE)), ((0, 1),), 430, (0, 50)),
    ],
)
def test_recomputed_spans(
    units: tuple[ComponentProfile, ...], spans: tuple[tuple[int, int], ...], level: int, moment: tuple[int, int]
) -> None:
    (run,) = runs(problem_of(tiny_profile(units)), replace(ONE, recompute=spans))
    assert run.training.peak == DATA + 200 + level
    assert run.training.peak_parts == {moment}
    # 10+15 + 10+20 + 1+1 a micro-batch and 10 more for each unit that runs again; 3 steps of 2+2.
    again = sum(last - first for first, last in spans)
    assert run.epoch_ns() == (57 + 10 * again) * 2500 + 12_000


@pytest.mark.parametrize(
    ("last", "spans", "level", "moment"),
    [
        # Kept below 200, the output that the next segment needs 16, its gradient 16, the head's gradients 20, 90, 500.
        (trace(500, 100, 110), ((1, 3),), 842, (306, 20)),
        # A replayed output is another tensor than the held one: the ordinary 700, and the held 16 beside it.
        (trace(150, 100, 700, 5000), ((1, 3),), 200 + 90 + 16 + 20 + 700, (306, 20)),
        (trace(150, 100, 700, 5000), (), 200 + 90 + 20 + 5000, (290, 20)),
        # Under a span in front, the gradients of head and last unit, the held output, its own output's gradient 16.
        (trace(150, 100, 110), ((1, 2),), 200 + 16 + 16 + 70 + 300, (216, 70)),
    ],
)
def test_spans_before_a_cut(
    last: Trace, spans: tuple[tuple[int, int], ...], level: int, moment: tuple[int, int]
) -> None:
    middle = unit(8, 60, inner=trace(300 if spans == ((1, 2),) else 150, 90, 120))
    units = (unit(40, 10**6, trace(300, 200, 350)), middle, unit(8, 60, inner=last), SECOND)
    profile = tiny_profile(units, (HeadProfile(3, "auxiliary", 8, HEAD),))
    (run,) = runs(problem_of(profile), BlockChoice(0, 2, (3, 4), heads(8, 0), recompute=spans))
    # Weights 3·50 + 50 + 24 and momentum 220.
    assert run.training.peak == DATA + 224 + 220 + level
    assert run.training.peak_parts == {moment}


def test_the_optimizer_in_backward() -> None:
    # Forward 300, 200+150, 290+20; backward 290+25, 200+160, 320: no gradients of others, and no step of its own.
    # Across the cut: 380 while the output is held; the second segment 80 + 155.
    problem = problem_of(stepping_profile(step_transient=10**6))
    stepping = replace(ONE, optimizer_in_backward=True)
    (one,) = runs(problem, stepping)
    assert one.training.peak == DATA + 160 + 150 + 360
    assert one.training.peak_parts == {(200, 0)}
    (two,) = runs(problem, replace(stepping, ends=(1, 2), heads=heads(8, 0)))
    assert two.training.peak == DATA + 184 + 170 + 380
    # A recomputed span: again 16 + 200 + 150.
    (again,) = runs(problem, replace(stepping, recompute=((0, 2),)))
    assert again.training.peak == DATA + 160 + 150 + 366


def test_a_smaller_setting_accumulates_and_steps_behind_backward() -> None:
    # At 1: data 234, weights 160, momentum and gradients 150 each; forward 110+78, 158+11; backward 158+14, 110+88.
    # 6+9 + 4+6 + 1+1 a sample; 3 steps of 4+2.
    problem = problem_of(stepping_profile())
    plan = plan_of(problem, replace(ONE, optimizer_in_backward=True))
    assert plan.blocks[0].ladder
    check(plan, problem.profile)
    fallback = BlockRun(plan, problem.profile, 0, 1)
    assert fallback.phases().train == 234 + 160 + 150 + 150 + 198 + 5 + 9
    assert fallback.epoch_ns() == 27_000 * 5 + 18_000


def test_the_fast_allocator() -> None:
    # Everything takes two thirds of the time, each figure rounded up: 6667+10000 + 4000+6000 + 667+667 = 28001 a
    # micro-batch, 3 steps of 2667 + 1334. Of the 1178 live bytes 778 stay, and the 400 that come and go count twice;
    # beside them baseline 3000, supervisor 200, constant 50 and a tenth.
    problem = problem_of(with_policies(tiny_profile(), 3e-6, 2e-6, (3000, 50, 100)), "process", "fast")
    (run,) = runs(problem, ONE)
    assert run.epoch_ns() == 28_001 * 5 // 2 + 3 * 4001
    assert run.phases().train == 3000 + 200 + 50 + 778 + 2 * 400 + 158
    assert run.phases().save == 3000 + 200 + 50 + 160 + 16
    assert (run.around.baseline_bytes, run.around.calibration_seconds) == (3000, None)
    # Storage is as fast as it was: reading takes 240; writing 120, and inference 5334 a micro-batch.
    first, second = runs(problem, CACHING, CACHED)
    assert (first.finish_ns(), second.epoch_ns()) == (5334 * 5 // 2 + 120_000, 240_000)


def test_the_tight_allocator_where_both_were_measured() -> None:
    profile = with_policies(tiny_profile(), 3e-6, 2e-6, (3000, 50, 100))
    (run,) = runs(problem_of(profile, "process"), ONE)
    assert run.phases().train == 1000 + 200 + 5 + 1178 + 12
    assert run.epoch_ns() == 42_000 * 5 // 2 + 18_000
    assert run.around.calibration_seconds == 0.25
