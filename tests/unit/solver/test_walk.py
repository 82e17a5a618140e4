"""Bytes and seconds of blocks, against tables worked out by hand from tests/unit/solver/tiny.py."""

from __future__ import annotations

import pytest

from planner.profiler.schema import HeadProfile
from planner.solver.predict import predict_block
from planner.solver.problem import Choice, Problem
from planner.solver.request import Request
from planner.solver.schema import BlockPrediction, Breakdown, Budget, PhasePeaks, Scope, Training
from planner.solver.walk import live_bytes
from tests.unit.solver.tiny import FIRST, HEAD, SECOND, SGD, tiny_profile

TRAINING = Training(batch=2, epochs=3, samples=5, optimizer=SGD)
ONE_SEGMENT = Choice(first=0, micro_batch=2, ends=(2,), filters=(0,))
TWO_SEGMENTS = Choice(first=0, micro_batch=2, ends=(1, 2), filters=(8, 0))
FIRST_BLOCK = Choice(first=0, micro_batch=2, ends=(1,), filters=(8,))
SECOND_BLOCK = Choice(first=1, micro_batch=2, ends=(2,), filters=(0,))


def _problem(scope: Scope = "training") -> Problem:
    return Problem(tiny_profile(), Request(Budget(10**6, scope), TRAINING))


def _predict(choice: Choice) -> BlockPrediction:
    return predict_block(_problem(), choice)


# Images of 35 bytes and labels of 8: two read buffers 2·2·43 = 172, the batch as float32 2·35·4 = 280, labels 2·8 = 16.
DATA = 468


def test_one_segment() -> None:
    # Forward: 300, 200+150, 290+20. Backward: classifier 290+25, second 200+170, first 350 + 50 of gradients = 400.
    # Step: 150 of gradients + 7. The highest is 400, with the second unit's 50 bytes of gradients in it.
    live = live_bytes(_problem(), ONE_SEGMENT)
    assert (live.data, live.weights, live.optimizer, live.static_gradients) == (DATA, 160, 150, 0)
    assert live.moment == (400, 0, 50)
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
    live = live_bytes(problem, Choice(first=0, micro_batch=2, ends=(2, 3), filters=(8, 0)))
    assert live.moment == (350 + 20 + 50 + 16, 16, 70)


def test_accumulation_keeps_all_gradients() -> None:
    # Data 2·43 + 140 + 8 = 234; static 354 + 170 of gradients. First segment: forward 160 and 110+32, backward 110+50
    # and 205 held. Second above its held input of 40: 40+75, 85+11, 85+14, 40+85. Step 7.
    live = live_bytes(_problem(), Choice(0, 1, (1, 2), (8, 0)))
    assert live.static_gradients == 170
    assert live.train == 234 + 354 + 170 + 205


def test_phases_and_overhead() -> None:
    # Train: data 468, static 110+100+44, backward 350 + 20. Validate: weights 134 and the unit's 120 (the head's 80+30
    # is less). Cache: the same and a writer of 65536 + 2·16. Save: weights. Each plus 5 and its hundredth, rounded up.
    predicted = _predict(FIRST_BLOCK)
    train, validate, cache, save = 1092, 722, 66290, 134
    assert predicted.peak_bytes_by_phase == PhasePeaks(
        train=train + 5 + 11, cache=cache + 5 + 663, validate=validate + 5 + 8, save=save + 5 + 2
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
    ],
)
def test_time(choice: Choice, epoch: float, finish: float) -> None:
    predicted = _predict(choice)
    assert predicted.seconds_per_epoch == pytest.approx(epoch * 1e-6, rel=1e-12)
    assert predicted.finish_seconds == pytest.approx(finish * 1e-6, rel=1e-12)
