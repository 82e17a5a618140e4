"""Bytes and seconds of blocks, against tables worked out by hand from tests/unit/solver/tiny.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from planner.schema.common import Policy
from planner.schema.prediction import BlockPrediction, Breakdown, PhasePeaks
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, Trace, Traces
from planner.schema.request import Budget, Request, Scope, Training
from planner.solver.memory_model import is_legal, live_bytes, stored_bytes, time_ns, total_ns
from planner.solver.predict import predict_block
from planner.solver.problem import BlockChoice, Problem
from tests.heads import heads
from tests.unit.solver.oracle import Oracle
from tests.unit.solver.random_profiles import Case, cases
from tests.unit.solver.requests import trainable
from tests.unit.solver.two_units import (
    CLASSIFIER,
    FIRST,
    HEAD,
    SECOND,
    SGD,
    UNUSED,
    component,
    costs,
    policy_profile,
    tiny_profile,
    trace,
)

TRAINING = Training(batch=2, epochs=3, samples=5, optimizer=SGD)
ONE_SEGMENT = BlockChoice(first=0, micro_batch=2, ends=(2,), heads=heads(0))
TWO_SEGMENTS = BlockChoice(first=0, micro_batch=2, ends=(1, 2), heads=heads(8, 0))
FIRST_BLOCK = BlockChoice(first=0, micro_batch=2, ends=(1,), heads=heads(8), caches=True)
SECOND_BLOCK = BlockChoice(first=1, micro_batch=2, ends=(2,), heads=heads(0), source="cache")
BEHIND_IMAGES = replace(SECOND_BLOCK, source="recompute")


def _problem(scope: Scope = "training") -> Problem:
    return Problem(tiny_profile(), Request(Budget(10**6, scope), TRAINING))


def _predict(choice: BlockChoice) -> BlockPrediction:
    return predict_block(_problem(), choice)


# Images of 35 bytes and labels of 8: two read buffers 2·2·43 = 172, the batch as float32 2·35·4 = 280, labels 2·8 = 16.
DATA = 468


def test_one_segment() -> None:
    # Forward: 300, 200+150, 290+20. Backward: classifier 290+25, second 200+170, first 350 + 50 of gradients = 400.
    # Step: 150 of gradients + 7. The highest is 400, with the second unit's 50 bytes of gradients in it.
    live = live_bytes(_problem(), ONE_SEGMENT)
    assert (live.data, live.weights, live.optimizer, live.static_gradients) == (DATA, 160, 150, 0)
    assert live.highest == (400, 0, 50)
    assert live.train == DATA + 310 + 400


def test_output_is_held_for_the_next_segment() -> None:
    # First segment: backward of its only unit while its output is held 380, + 20 of the head's gradients = 400.
    # Second: its input of 80 is held below everything: forward 80+140, backward 80+160. The head's 44 are static.
    assert live_bytes(_problem(), TWO_SEGMENTS).train == DATA + 354 + 400


def test_output_is_held_while_earlier_units_run_backward() -> None:
    # [second, first-like] as one segment in front of another unit: the earlier unit's backward is 350, above it the
    # gradients of the head 20 and of the segment's last unit 50, and the held output of 2·8 bytes: 436.
    profile = tiny_profile((FIRST, SECOND, SECOND), (HeadProfile(2, "auxiliary", 8, HEAD),))
    problem = Problem(profile, Request(Budget(10**6, "training"), TRAINING))
    live = live_bytes(problem, BlockChoice(first=0, micro_batch=2, ends=(2, 3), heads=heads(8, 0)))
    assert live.highest == (350 + 20 + 50 + 16, 16, 70)


def test_accumulation_keeps_all_gradients() -> None:
    # Data 2·43 + 140 + 8 = 234; static 354 + 170 of gradients. First segment: forward 160 and 110+32, backward 110+50
    # and 205 held. Second above its held input of 40: 40+75, 85+11, 85+14, 40+85. Step 7.
    live = live_bytes(_problem(), BlockChoice(0, 1, (1, 2), heads(8, 0)))
    assert live.static_gradients == 170
    assert live.train == 234 + 354 + 170 + 205


def test_phases_and_overhead() -> None:
    # Train: data 468, static 110+100+44, backward 350 + 20. Cache: data, weights 134, the unit's 120 and a writer of
    # 65536 + 2·16. Validate: test samples are cached as they are measured, so the same. Save: weights. Each plus 5 and
    # its hundredth, rounded up.
    predicted = _predict(FIRST_BLOCK)
    train, cache, save = 1092, 66290, 134
    assert predicted.peak_bytes_by_phase == PhasePeaks(
        train=train + 5 + 11, cache=cache + 5 + 663, validate=cache + 5 + 663, save=save + 5 + 2
    )
    assert predicted.peak_bytes == cache + 5 + 663


def test_last_block_reads_its_cache_and_writes_none() -> None:
    # Records of 40 + 8 bytes: two buffers 2·2·48 = 192, labels 16. Second unit as first of its segment: forward 140,
    # 85+20, backward 85+25, 160, step 50+3; weights and momentum 100.
    predicted = _predict(SECOND_BLOCK)
    assert predicted.peak_bytes_by_phase.cache == 0
    assert predicted.peak_bytes_by_phase.train == 208 + 100 + 160 + 5 + 5
    # Validate: its own input is among the buffers; classifier 2·8 + 10 is less than the unit's 60.
    assert predicted.peak_bytes_by_phase.validate == 208 + 50 + 60 + 5 + 4


def test_breakdown() -> None:
    # Of the 1178 live bytes of one segment; 5 + 12 of overhead are transient.
    assert _predict(ONE_SEGMENT).breakdown == Breakdown(
        runtime=0,
        data=DATA,
        parameters=160,
        gradients=50,
        optimizer=150,
        activations=0,
        transient=350 + 17,
        cache=0,
    )
    assert _predict(ONE_SEGMENT).binding == "data"


def test_scope_process_counts_the_runtime() -> None:
    inside = predict_block(_problem("process"), ONE_SEGMENT)
    assert inside.peak_bytes - _predict(ONE_SEGMENT).peak_bytes == 1200
    assert inside.breakdown.runtime == 1200


def test_a_prefix_runs_in_front_of_its_block() -> None:
    # Images as for the first block, 468, and what the first unit makes of them, 2·40. Its weights of 110 stay; neither
    # gradients nor momentum. The unit's own 160 is above the prefix's 120, as while validating its 60 is below.
    live = live_bytes(_problem(), BEHIND_IMAGES)
    assert (live.data, live.weights, live.optimizer, live.static_gradients) == (DATA + 80, 160, 50, 0)
    assert live.highest == (160, 0, 0)
    assert (live.validate, live.cache) == (DATA + 80 + 160 + 120, 0)


def test_a_prefix_can_be_the_highest() -> None:
    # Two units in front of the block: 40·2 of the first's output below the second's 700. Accumulating, the block's own
    # 50 of gradients are there.
    costs_ = tuple(replace(cost, inference_peak_bytes=350 * cost.micro_batch) for cost in SECOND.costs)
    larger = replace(SECOND, costs=costs_)
    problem = _chain(FIRST, larger, SECOND, heads=(HeadProfile(2, "auxiliary", 8, HEAD),))
    live = live_bytes(problem, BlockChoice(2, 2, (3,), heads(0), source="recompute"))
    assert live.highest == (80 + 700, 0, 0)
    assert live.train == DATA + 2 * 8 + 110 + 50 + 50 + 50 + 780
    live = live_bytes(problem, BlockChoice(2, 1, (3,), heads(0), source="recompute"))
    assert live.train == 234 + 8 + 110 + 50 + 50 + 50 + 50 + 40 + 350


def test_a_prefix_runs_while_the_cache_is_written() -> None:
    # Weights of both units and the head; the prefix's 120 is above the unit's 60; 65536 + 2·16 of the writer.
    problem = _chain(FIRST, SECOND, SECOND, heads=(HeadProfile(2, "auxiliary", 8, HEAD),))
    live = live_bytes(problem, BlockChoice(1, 2, (2,), heads(8), source="recompute", caches=True))
    assert live.cache == DATA + 80 + 110 + 50 + 24 + 120 + 65536 + 32


def test_only_what_trains_has_to_normalise_enough_samples() -> None:
    first = replace(FIRST, minimum_micro_batch=2)
    problem = Problem(tiny_profile((first, SECOND)), Request(Budget(10**6, "training"), TRAINING))
    assert is_legal(problem, replace(BEHIND_IMAGES, micro_batch=1))
    assert not is_legal(problem, replace(ONE_SEGMENT, micro_batch=1))
    assert is_legal(problem, ONE_SEGMENT)


@pytest.mark.parametrize(
    ("choice", "epoch", "finish"),
    [
        # 10+15 + 6+9 + 1+1 = 42 a micro-batch, 2.5 of them; 3 steps of 4+2.
        (ONE_SEGMENT, 42 * 2.5 + 3 * 6, 0),
        # The cut adds the head's 2+3 and saves 2 of the second unit's backward; steps take 1 more.
        (TWO_SEGMENTS, 45 * 2.5 + 3 * 7, 0),
        # Inference 8 · 2.5, and 5·48 bytes at 2 MB/s.
        (FIRST_BLOCK, 30 * 2.5 + 3 * 5, 20 + 120),
        # Reading 5·48 bytes at 1 MB/s takes longer than computing 15·2.5 + 3·2.
        (SECOND_BLOCK, 240, 0),
        # The second unit 6+7, the classifier 1+1, the first once more 8; its step plays no part.
        (BEHIND_IMAGES, 23 * 2.5 + 3 * 2, 0),
        # Nobody reads what the first block makes.
        (replace(FIRST_BLOCK, caches=False), 30 * 2.5 + 3 * 5, 0),
    ],
)
def test_time(choice: BlockChoice, epoch: float, finish: float) -> None:
    predicted = _predict(choice)
    assert predicted.seconds_per_epoch == pytest.approx(epoch * 1e-6, rel=1e-12)
    assert predicted.finish_seconds == pytest.approx(finish * 1e-6, rel=1e-12)


def test_a_prefix_runs_again_for_the_cache() -> None:
    # 10 of the first and 5 of the second; 5·16 bytes at 2 MB/s.
    problem = _chain(FIRST, SECOND, SECOND, heads=(HeadProfile(2, "auxiliary", 8, HEAD),))
    time = time_ns(problem, BlockChoice(1, 2, (2,), heads(8), source="recompute", caches=True))
    # 6+7 and the head's 2+3, the first's 8, 3 steps of 2+1.
    assert time == ((18 + 8) * 2500 + 3 * 3000, (8 + 5) * 2500 + 40_000)


@pytest.mark.parametrize(
    ("choice", "stored"),
    [
        (ONE_SEGMENT, 0),
        (FIRST_BLOCK, 240),
        (replace(FIRST_BLOCK, caches=False), 0),
        (SECOND_BLOCK, 240),
        (BEHIND_IMAGES, 0),
    ],
)
def test_storage_is_that_of_the_caches(choice: BlockChoice, stored: int) -> None:
    # Five records of 40 + 8 bytes.
    problem = _problem()
    assert stored_bytes(problem, choice) == stored
    for storage in (stored, stored - 1):
        if storage >= 0:
            request = replace(problem.request, storage_bytes=storage, cache_dtype="float32")
            limited = Problem(problem.profile, request)
            fits = limited.storage_allows(choice.first, choice.last, choice.source, choice.caches)
            assert fits is (storage == stored)


def test_the_fast_policy_stretches_time_and_changes_overhead() -> None:
    # Every figure takes 2/3, rounded up by itself: 6.667+10, 4+6, 0.667+0.667, steps of 2.667+1.334, inference of 8
    # 5.334. Reading and writing stay.
    policies = (policy_profile("tight", 10**9, 10**9, 999, 0.3), policy_profile("fast", 700, 77, 500, 0.2))
    profile = replace(tiny_profile(), policies=policies)
    problem = Problem(profile, Request(Budget(10**6, "process"), TRAINING), "fast")
    assert time_ns(problem, ONE_SEGMENT).epoch == (6667 + 10000 + 4000 + 6000 + 667 + 667) * 5 // 2 + 3 * (2667 + 1334)
    assert time_ns(problem, SECOND_BLOCK).epoch == 240_000
    assert time_ns(problem, FIRST_BLOCK).finish == 5334 * 5 // 2 + 120_000
    # Runtime 700 + 200; beside live bytes 77 and their half, rounded up. What starts is the runtime's.
    assert [problem.process.resident(live) for live in (0, 7)] == [977, 977 + 7 + 4]
    assert problem.process.start_bytes == 1500 + 200


def test_how_much_faster_fast_is_depends_on_the_micro_batch() -> None:
    """Steps on straight lines between those measured, with the last slope beyond: 1/2 at 1, 9/12 at 2, 14/16 at 3."""
    tight = policy_profile("tight", 0, 0, 0, 0.008, 0.016, sizes=(1, 3))
    fast = policy_profile("fast", 0, 0, 0, 0.004, 0.014, sizes=(1, 3))
    profile = replace(tiny_profile(), policies=(tight, fast))
    request = Request(Budget(10**6, "training"), TRAINING)
    slow, quick = Problem(profile, request), Problem(profile, request, "fast")
    for size, (to, of) in {1: (4, 8), 2: (9, 12), 3: (14, 16), 4: (19, 20)}.items():
        there, here = slow.unit_cost(0, size), quick.unit_cost(0, size)
        assert here.step_ns == -(-there.step_ns * to // of)
        assert abs(here.forward_ns - there.forward_ns * to / of) < 2


def _unit(output: int, detached: int, traces: Traces, fixed: tuple[int, int, int] = (50, 0, 3)) -> ComponentProfile:
    """A unit profiled at micro-batch 2 alone; its inference figures play no part."""
    table: tuple[Costs, ...] = (replace(costs(2, traces, 0, (10, 20, 15, 8)), detached_peak_bytes=detached),)
    return component(fixed, 2, output, table)


def _only(first: Trace = UNUSED, inner: Trace = UNUSED) -> Traces:
    return Traces(inner, UNUSED, first, UNUSED, UNUSED, UNUSED)


def _chain(*units: ComponentProfile, heads: tuple[HeadProfile, ...] = ()) -> Problem:
    return Problem(tiny_profile(units, heads), Request(Budget(10**6, "training"), TRAINING))


def test_a_recomputed_span_runs_forward_again_below_the_gradient_of_its_output() -> None:
    first = _unit(40, 130, _only(first=trace(300, 200, 210)))
    second = _unit(8, 60, _only(inner=trace(150, 90, 120, 10**6)))
    live = live_bytes(_chain(first, second), BlockChoice(0, 2, (2,), heads(0), recompute=((0, 2),)))
    # Forward: 130, 80 + 60, classifier 16 + 20. Backward: 16 + 25; again under 2·8 of gradient: 16 + 300 and
    # 16 + 200 + 150 = 366; then 200 + 120, and 210 + 50 of gradients. Step 100 + 3.
    assert live.highest == (366, 200, 0)
    assert live_bytes(_chain(first, second), BlockChoice(0, 2, (2,), heads(0))).highest.level == 350


def test_a_recomputed_span_passes_forward_without_saving() -> None:
    # Inside the span a unit's input is there: 2·40 + 400. Behind it the output alone: 16 + 20 at the classifier.
    first = _unit(40, 130, _only(first=trace(300, 200, 210)))
    second = _unit(8, 400, _only(inner=trace(150, 90, 120)))
    recompute = ((0, 2),)
    assert live_bytes(_chain(first, second), BlockChoice(0, 2, (2,), heads(0), recompute)).highest == (80 + 400, 0, 0)
    # The first unit has its input below it, which others count: 500 and not more.
    larger = replace(first, costs=(replace(first.costs[0], detached_peak_bytes=500),))
    assert live_bytes(_chain(larger, second), BlockChoice(0, 2, (2,), heads(0), recompute)).highest == (500, 0, 0)


def test_spans_behind_a_span_stand_on_its_output() -> None:
    # Two spans of one unit. Below the second lies the output of the first, 2·40: again under its gradient of 16 it
    # reaches 80 + 16 + 450 = 546. The first: 80 of gradient + 50 of the second's + 300.
    first = _unit(40, 130, _only(first=trace(300, 200, 210)))
    second = _unit(8, 60, _only(inner=trace(450, 90, 120)))
    live = live_bytes(_chain(first, second), BlockChoice(0, 2, (2,), heads(0), recompute=((0, 1), (1, 2))))
    assert live.highest == (546, 80, 0)


HEADS = (HeadProfile(3, "auxiliary", 8, HEAD),)
BEHIND = BlockChoice(0, 2, (3, 4), heads(8, 0), recompute=((1, 3),))


def _behind(last: Trace) -> Problem:
    """A kept unit and a span of two, under a head and in front of another segment that needs their output."""
    kept = _unit(40, 10**6, _only(first=trace(300, 200, 350)))
    middle = _unit(8, 60, _only(inner=trace(150, 90, 120)))
    return _chain(kept, middle, _unit(8, 60, _only(inner=last)), SECOND, heads=HEADS)


def test_a_span_runs_forward_again_above_what_is_kept_and_held() -> None:
    # Kept below 200, the output held for the next segment 16 and its gradient 16, the head's gradients 20, the middle
    # unit's 90 and the last one's forward of 500.
    assert live_bytes(_behind(trace(500, 100, 110)), BEHIND).highest == (200 + 16 + 16 + 20 + 90 + 500, 306, 20)


def test_an_output_that_is_held_is_another_tensor_than_what_was_recomputed() -> None:
    # Without recomputation the held trace counts; here the last unit's own 700 and the held 16 beside it.
    assert live_bytes(_behind(trace(150, 100, 700, 5000)), BEHIND).highest == (200 + 90 + 16 + 20 + 700, 306, 20)
    plain = replace(BEHIND, recompute=())
    assert live_bytes(_behind(trace(150, 100, 700, 5000)), plain).highest == (200 + 90 + 20 + 5000, 290, 20)


def test_recomputation_takes_one_more_forward() -> None:
    # To the 42 a micro-batch of one segment, 10 + 6 for both units, 6 for the second alone.
    for spans, more in ((((0, 2),), 16), (((1, 2),), 6), (((0, 1), (1, 2)), 16)):
        predicted = _predict(replace(ONE_SEGMENT, recompute=spans))
        assert predicted.seconds_per_epoch == pytest.approx(((42 + more) * 2.5 + 18) * 1e-6, rel=1e-12)
        assert predicted.finish_seconds == 0


BOTH_HEADS = (HeadProfile(1, "auxiliary", 8, HEAD), HeadProfile(2, "auxiliary", 8, HEAD))
WITH_WINDOW = BlockChoice(first=0, micro_batch=2, ends=(1, 3), heads=heads(8, 0), windows=(1,))
LEAVING = BlockChoice(first=0, micro_batch=2, ends=(1,), heads=heads(8), caches=True, windows=(1,))


def _overlapping() -> Problem:
    request = Request(Budget(10**6, "training"), TRAINING, overlap=1)
    return Problem(tiny_profile((FIRST, SECOND, SECOND), BOTH_HEADS), request)


def test_a_window_runs_between_a_segments_units_and_its_head() -> None:
    # Forward 300, 200+150, 290+60; backward: head 290+95, window 200+170+20 = 390, first, held, 380+50+20 = 450.
    live = live_bytes(_overlapping(), WITH_WINDOW)
    assert live.highest == (450, 0, 70)
    # Three units and a head: the window is one of them. Where it accumulates the window has 50 of gradients once more.
    assert (live.weights, live.optimizer, live.static_gradients) == (234, 220, 0)
    one_by_one = live_bytes(_overlapping(), replace(WITH_WINDOW, micro_batch=1))
    assert one_by_one.static_gradients == 220 + 50


def test_a_window_of_the_next_block_is_in_memory_besides() -> None:
    # As before, the output not held: 350+50+20 = 420. First unit, window and head; the head is not measured behind.
    live = live_bytes(_overlapping(), LEAVING)
    assert live.highest == (420, 0, 70)
    assert (live.weights, live.optimizer, live.static_gradients) == (184, 170, 0)
    assert live.validate == live.running
    assert live_bytes(_overlapping(), replace(LEAVING, micro_batch=1)).static_gradients == 170


def test_a_window_takes_its_forward_backward_and_step_once_more() -> None:
    # A micro-batch of the second unit takes 6 + 9 and its step 2 microseconds, 2.5 times and 3 times in an epoch.
    problem = _overlapping()
    without = replace(WITH_WINDOW, windows=())
    more = time_ns(problem, WITH_WINDOW).epoch - time_ns(problem, without).epoch
    assert more == 2.5 * 15_000 + 3 * 2_000


def _stepping(first: Trace, inner: Trace) -> Traces:
    return Traces(UNUSED, UNUSED, UNUSED, UNUSED, inner, first)


def _stepping_problem() -> Problem:
    first = _unit(40, 130, _stepping(trace(300, 200, 320, 380), UNUSED), (100, 10, 10**6))
    second = _unit(8, 60, _stepping(trace(145, 95, 155), trace(150, 90, 160)), (50, 0, 10**6))
    closing = replace(CLASSIFIER, costs=(replace(CLASSIFIER.costs[1], traces=_stepping(UNUSED, trace(20, 12, 25))),))
    head = replace(HEAD, costs=(replace(HEAD.costs[1], traces=_stepping(UNUSED, trace(60, 30, 95))),))
    profile = tiny_profile((first, second))
    heads = (HeadProfile(1, "auxiliary", 8, head), HeadProfile(2, "classifier", 0, closing))
    return Problem(replace(profile, heads=heads), Request(Budget(10**6, "training"), TRAINING))


def test_gradients_do_not_pile_up_where_the_optimizer_is_in_backward() -> None:
    # Forward 300, 200 + 150, 290 + 20; backward 290 + 25, 200 + 160 = 360, 320: neither gradients of components above
    # nor a step of its own. Weights, buffers and momentum stay: 160 and 150.
    live = live_bytes(_stepping_problem(), replace(ONE_SEGMENT, optimizer_in_backward=True))
    assert live.highest == (360, 200, 0)
    assert (live.weights, live.optimizer, live.static_gradients) == (160, 150, 0)


def test_the_optimizer_in_backward_across_a_cut() -> None:
    # First segment: forward 300, 200 + 60; backward 200 + 95, 380 held. Second above its input of 80: 80 + 155.
    live = live_bytes(_stepping_problem(), replace(TWO_SEGMENTS, optimizer_in_backward=True))
    assert live.highest == (380, 0, 0)


def test_recomputation_with_the_optimizer_in_backward() -> None:
    # Forward 130, 80 + 60; again 16 + 300 and 16 + 200 + 150; backward 200 + 160 and 320.
    choice = replace(ONE_SEGMENT, recompute=((0, 2),), optimizer_in_backward=True)
    assert live_bytes(_stepping_problem(), choice).highest == (366, 200, 0)


@pytest.mark.parametrize(
    ("changes", "legal"),
    [
        ({}, True),
        ({"optimizer_in_backward": True}, True),
        ({"optimizer_in_backward": True, "micro_batch": 1}, False),
        ({"recompute": ((0, 1), (1, 2))}, True),
        ({"recompute": ((0, 2),)}, False),  # across the cut
        ({"recompute": ((0, 2),), "ends": (2,), "heads": heads(0)}, True),
        ({"recompute": ((0, 2), (1, 2)), "ends": (2,), "heads": heads(0)}, False),  # overlapping
        ({"recompute": ((1, 2), (0, 1))}, False),  # falling
        ({"recompute": ((1, 3),)}, False),  # beyond the block
        ({"recompute": ((1, 1),)}, False),  # empty
    ],
)
def test_what_is_legal(changes: dict[str, Any], legal: bool) -> None:
    assert is_legal(_problem(), replace(TWO_SEGMENTS, **changes)) is legal


@settings(max_examples=40, suppress_health_check=(HealthCheck.too_slow,), derandomize=True)
@given(cases(3))
def test_every_choice_is_what_was_played_out(case: Case) -> None:
    """The oracle's events against the walk, for all that a block can be."""
    assume(trainable(case))
    request = Request(Budget(1, case.scope), case.training, reserve_bytes=case.reserve_bytes, overlap=case.overlap)
    policies: tuple[Policy, ...] = ("tight", "fast") if len(case.profile.policies) == 2 else ("tight",)
    for policy in policies:
        problem = Problem(case.profile, request, policy)
        oracle = Oracle(case.profile, case.training, None, case.head_time_share, policy, overlap=case.overlap)
        for joint in oracle.blocks:
            for setting in oracle.settings(joint):
                first, size = setting.span[0], setting.micro_batch
                windows = oracle.windows(setting.ends)
                choice = BlockChoice(first, size, setting.ends, heads(*setting.filters), *setting[4:8], windows)
                assert is_legal(problem, choice)
                assert live_bytes(problem, choice).peak == setting.live_bytes
                assert total_ns(problem, (choice,)) == setting.time_ns
                assert stored_bytes(problem, choice) == oracle.stored(joint)
                assert problem.process.budget_for(setting.live_bytes) == oracle.budget(
                    setting.live_bytes, case.scope, case.reserve_bytes
                )
