"""Tables of plans, and what holds for every table."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from planner.report.run_tables import report_table
from planner.report.tables import alternatives_table, breakdown_table, plan_table
from planner.schema.common import usual_optimizer
from planner.schema.model import BatchNorm2d
from planner.schema.prediction import BlockPrediction, LossPoints
from planner.schema.request import Strategy
from tests.unit.report.cells import cells, flat, mib
from tests.unit.report.documents import (
    MODEL,
    NORM,
    PLAIN,
    PLAN,
    POLISHED,
    RELU,
    REPORT,
    RESIDUAL,
    block,
    make_model,
    make_plan,
    prediction,
)


def test_a_plan_is_shown_block_by_block() -> None:
    table = plan_table(PLAN)
    assert cells(table, "0") == [
        "0", "0–2", "alpha..gamma", "0", "8 filters", "–", "16 × 2", "data", mib(255_000_000), "3.2 s",
    ]  # fmt: skip
    assert cells(table, "1–2") == ["1–2", "24 filters", "–"]
    assert cells(table, "1") == [
        "1", "3–4", "delta..omega", "3–4", "own", "–", "32 × 1", "cache", mib(271_000_000), "4.8 s",
    ]  # fmt: skip


def test_a_plan_says_which_units_are_frozen_and_how_they_are_read_through() -> None:
    (_, behind) = PLAN.blocks
    training = replace(PLAN.training, freeze=3)
    plan = replace(PLAN, blocks=(behind,), training=training)
    table = plan_table(plan)
    assert cells(table, "–") == ["–", "0–2", "alpha..gamma", "frozen", "data"]
    assert cells(table, "0")[:3] == ["0", "3–4", "delta..omega"]
    assert "cosine schedule, the first 3 units frozen" in flat(table)
    assert "Units 0–2 keep the weights that the run is given (--init): no gradients, no optimizer state" in flat(table)
    assert "they run once, and block 0 reads their outputs from a cache" in flat(table)
    assert "What is trained is plain backpropagation" in flat(table)
    again = replace(behind, input=replace(behind.input, kind="recompute"))
    assert "they run in every epoch" in flat(plan_table(replace(plan, blocks=(again,))))
    assert "frozen" not in plan_table(PLAN)


def test_a_plan_says_where_images_differ_in_every_epoch() -> None:
    first, behind = PLAN.blocks
    plan = replace(PLAN, training=replace(PLAN.training, augment="flip", views=2))
    assert "cosine schedule, augmented by flip" in flat(plan_table(plan))
    said = "Images are augmented otherwise in every epoch"
    assert f"{said}; block 1 reads 2 augmented passes in turn, from a cache." in flat(plan_table(plan))
    once = replace(plan, training=replace(plan.training, views=1))
    assert "block 1 reads one augmented pass, the same in every epoch, from a cache." in flat(plan_table(once))
    frozen = replace(plan, blocks=(behind,), training=replace(plan.training, freeze=3))
    assert "Block 0 reads 2 augmented passes in turn, from a cache." in flat(plan_table(frozen))
    again = replace(behind, input=replace(behind.input, kind="recompute"))
    assert f"{said}. " in f"{flat(plan_table(replace(plan, blocks=(first, again))))} "
    assert "augmented" not in plan_table(PLAN)


def test_a_plan_says_what_was_asked_for() -> None:
    table = plan_table(PLAN)
    assert cells(table, "plan") == ["plan", "abcdef012345"]
    assert cells(table, "model") == ["model", "small-net: 5 units, 3×20×30, 7 classes"]
    assert cells(table, "device") == ["device", "board: cpu, 2 threads"]
    assert cells(table, "budget") == ["budget", f"{mib(280_000_000)} MiB, scope process, 4.0 MiB of it in reserve"]
    assert cells(table, "strategy") == ["strategy", "auto, prefer balanced"]
    trained = "batch 32, 3 epochs of 640 samples per block, sgd with learning rate 0.05, momentum 0.9, cosine schedule"
    assert trained in flat(table)
    early = replace(PLAN, blocks=(replace(PLAN.blocks[0], epochs=1), *PLAN.blocks[1:]))
    assert "batch 32, 1 and 3 epochs of 640 samples per block" in flat(plan_table(early))
    usual = flat(plan_table(replace(PLAN, training=replace(PLAN.training, optimizer=usual_optimizer("sgd")))))
    assert "0.05, Nesterov momentum 0.9, weight decay 0.0005 (norms and biases spared), cosine" in usual


def test_a_plan_says_what_it_takes_in_all() -> None:
    table = plan_table(PLAN)
    assert cells(table, "peak") == ["peak", f"{mib(271_000_000)} MiB of {mib(280_000_000)} MiB"]
    assert cells(table, "total time") == ["total time", "25.0 s"]
    assert cells(table, "caches") == ["caches", f"{mib(64_000_000)} MiB of storage at one time, at most"]
    assert cells(table, "cuts") == ["cuts", "2, before unit 1, 3"]
    assert cells(table, "smallest budget") == ["smallest budget", f"{mib(210_000_000)} MiB, with strategy auto"]


def test_limits_and_gaps_are_named_where_there_are_some() -> None:
    table = plan_table(replace(PLAN, storage_bytes=2**30, optimality_gap=0.0125, reserve_bytes=0))
    assert "at most (1.00 GiB allowed)" in table
    assert "25.0 s; at most 1.2% slower than the best" in table
    assert "reserve" not in table


def test_the_trade_is_the_plan_beside_the_fastest_and_the_fewest_cuts() -> None:
    """25 s against 20 s (a fifth less) and 40 s (three fifths more); backpropagation's 45 s play no part."""
    assert (
        "balanced: 2 cuts in 25.0 s. The fastest plan has 3 cuts in 20.0 s (20.0% less time). "
        "With the fewest cuts that were sought: 0 cuts in 40.0 s (60.0% more time)." in flat(plan_table(PLAN))
    )


def test_a_plan_at_an_end_of_the_frontier_says_so() -> None:
    fastest = replace(PLAN.predicted, seconds_total=20.0)
    said = flat(plan_table(replace(PLAN, prefer="speed", predicted=fastest)))
    assert "speed: 2 cuts in 20.0 s. No plan is faster. With the fewest cuts" in said
    fewest = replace(PLAN.predicted, seconds_total=40.0)
    said = flat(plan_table(replace(PLAIN, prefer="fidelity", predicted=fewest)))
    assert (
        "fidelity: 0 cuts in 40.0 s. The fastest plan has 3 cuts in 20.0 s (50.0% less time). "
        "No plan was found with fewer cuts." in said
    )
    balanced = flat(plan_table(replace(PLAIN, predicted=fewest)))
    assert "None that takes at most 10 % more than the fastest was found with fewer cuts." in balanced


def test_a_named_strategy_is_set_beside_auto() -> None:
    assert "strategy neuroflux was asked for: 2 cuts in 25.0 s." in flat(
        plan_table(replace(PLAN, strategy="neuroflux"))
    )
    assert "no alternatives are recorded" in plan_table(replace(PLAN, alternatives=()))


def test_plain_backpropagation_is_called_by_its_name() -> None:
    assert "This plan is plain backpropagation" in plan_table(PLAIN)
    assert "backpropagation" not in plan_table(PLAN)
    cut = make_plan(MODEL, (block(0, (2, 5), (8, None), 32),))
    assert "backpropagation" not in plan_table(cut)


@pytest.mark.parametrize(
    ("layers", "filters", "micro_batch", "noted"),
    [
        ((NORM, RELU), (None,), 16, True),
        (RESIDUAL, (None,), 16, True),
        ((RELU,), (None,), 16, False),
        ((RELU,), (8, None), 16, True),
        ((NORM, RELU), (8, None), 32, False),
    ],
)
def test_normalisation_over_micro_batches_is_noted(
    layers: tuple[BatchNorm2d, ...], filters: tuple[int | None, ...], micro_batch: int, noted: bool
) -> None:
    model = make_model(("a", "b", "c"), layers)
    plan = make_plan(model, (block(0, (1, 3)[-len(filters) :], filters, micro_batch),))
    said = flat(plan_table(plan))
    text = "takes its statistics from the micro-batch, not from the whole batch of 32, in block 0."
    assert (text in said) == noted


def beyond(measured: int | None) -> BlockPrediction:
    return replace(prediction(255_000_000, 3.25), extrapolated_from=measured)


def test_a_plan_beyond_its_measurements_says_so() -> None:
    first, second = PLAN.blocks
    plan = replace(PLAN, blocks=(first, replace(second, predicted=beyond(8))))
    said = flat(plan_table(plan))
    assert "Block 1: micro-batch 32 lies beyond what was measured (8); its figures are extrapolated." in said
    assert said.count("beyond what was measured") == 1
    assert "beyond" not in plan_table(PLAN)


def test_blocks_beyond_the_same_measurement_share_a_sentence() -> None:
    ends = ((1,), (2,), (3,), (5,))
    chosen = zip((0, 1, 2, 3), ends, (32, 16, 32, 32), (8, 8, 8, 4), strict=True)
    blocks = [block(at, end, (None if end == (5,) else 8,), size, predicted=beyond(to)) for at, end, size, to in chosen]
    said = flat(plan_table(make_plan(MODEL, tuple(blocks))))
    assert "Blocks 0, 2: micro-batch 32 lies beyond what was measured (8); their figures are extrapolated." in said
    assert "Block 1: micro-batch 16 lies beyond what was measured (8); its figures are extrapolated." in said
    assert "Block 3: micro-batch 32 lies beyond what was measured (4); its figures are extrapolated." in said


def test_equal_segments_of_one_unit_share_a_line() -> None:
    model = make_model(tuple(f"u{index}" for index in range(9)))
    plan = make_plan(model, (block(0, (1, 2, 3, 5, 6, 7, 8, 9), (8, 8, 8, 8, 8, 8, 4, None), 32),))
    rows = plan_table(plan).split("\n\n")[1].splitlines()
    found = [re.split(r" {2,}", row.strip())[3 if position == 0 else 0] for position, row in enumerate(rows[4:])]
    assert found == ["0–2 each", "3–4", "5", "6", "7", "8"]


def test_units_that_two_segments_train_are_named() -> None:
    model = make_model(tuple(f"u{index}" for index in range(5)))
    planned = block(0, (1, 2, 3, 5), (8, 8, 8, None), 32)
    windows = (0, 1, 1, 0)
    segments = tuple(replace(one, window=size) for one, size in zip(planned.segments, windows, strict=True))
    table = plan_table(make_plan(model, (replace(planned, segments=segments),)))
    assert "units 2, 3 are trained with the segment before as well, up to its head" in flat(table)
    assert cells(table, "1")[0] == "1"  # no line for all three of one unit: they are not alike
    assert "overlap" not in plan_table(PLAN)


def test_a_long_chain_of_equal_segments_is_one_line() -> None:
    model = make_model(tuple(f"u{index}" for index in range(300)))
    plan = make_plan(model, (block(0, tuple(range(1, 301)), (256,) * 299 + (None,), 32),))
    assert cells(plan_table(plan), "0")[3:5] == ["0–298 each", "256 filters"]
    assert cells(plan_table(plan), "299") == ["299", "own", "–"]


def test_alternatives_show_every_strategy_and_mark_the_plan() -> None:
    table = alternatives_table(PLAN)
    assert cells(table, "auto", 0) == ["auto", "yes", mib(279_000_000), "40.0 s", "0", "–", "1", "0.0"]
    assert cells(table, "*") == ["*", "auto", "yes", mib(271_000_000), "25.0 s", "2", "–", "2", mib(64_000_000)]
    assert cells(table, "auto", 1) == ["auto", "yes", mib(265_000_000), "20.0 s", "3", "–", "2", mib(63_000_000)]
    assert cells(table, "backprop") == ["backprop", "yes", mib(279_000_000), "45.0 s", "0", "–", "1", "0.0"]
    for strategy in ("classic-local", "neuroflux"):
        assert cells(table, strategy)[:2] == [strategy, "does not fit"]
    assert "under 267.0 MiB, scope process" in table


def test_lost_points_are_shown_with_their_interval_and_as_a_guess_where_they_are_one() -> None:
    def shown(loss: LossPoints | None) -> str:
        predicted = replace(PLAN.predicted, accuracy_loss_points=loss)
        return flat(plan_table(replace(PLAN, predicted=predicted)))

    assert "not predicted" in shown(None)
    assert "loses nothing" in shown(LossPoints(0.0, 0.0, 0.0))
    assert "about 1.2 points lost to backpropagation (nine of ten between -0.3 and 2.7)" in shown(
        LossPoints(1.2, -0.3, 2.7)
    )
    assert "2.7; a guess: unlike)" in shown(LossPoints(1.2, -0.3, 2.7, "unlike"))
    others = tuple(replace(other, accuracy_loss_points=LossPoints(1.26, 0.0, 2.0)) for other in PLAN.alternatives)
    plan = replace(PLAN, alternatives=others)
    assert cells(alternatives_table(plan), "*")[6] == "1.3"
    assert "3 cuts, about 1.3 points lost, in 20.0 s" in flat(plan_table(plan))


@pytest.mark.parametrize("strategy", ["auto", "backprop"])
def test_a_strategy_without_a_plan_does_not_fit(strategy: Strategy) -> None:
    others = tuple(other for other in PLAN.alternatives if other.strategy != strategy)
    table = alternatives_table(replace(PLAN, alternatives=others))
    assert cells(table, strategy)[1] == "does not fit"


def test_the_breakdown_shows_every_part_and_their_sum() -> None:
    table = breakdown_table(PLAN)
    assert table.splitlines()[0].split() == [
        "block", "units", "runtime", "data", "parameters", "gradients", "optimizer", "activations", "transient",
        "cache", "sum",
    ]  # fmt: skip
    parts = [90_000_001, 1_000_003, 2_500_007, 1_750_011, 3_000_013, 20_000_017, 40_000_019, 600_023]
    for index, units in (("0", "0–2"), ("1", "3–4")):
        assert cells(table, index) == [index, units, *map(mib, parts), mib(sum(parts))]


NASTY = "\x1b[2J\x07\u202e\r\n" + "W" * 190


def every_table(name: str, size: int, seconds: float) -> list[str]:
    """All tables of documents that say `name` wherever they may, with large figures."""
    model = replace(make_model(tuple(f"{name[:190]}{index}" for index in range(5))), name=name)
    device = replace(PLAN.device, name=name, fingerprint=name)
    shown = prediction(size, seconds, binding=name)
    plan = replace(
        PLAN,
        id=name,
        model=model,
        device=device,
        blocks=tuple(replace(block, predicted=replace(shown, extrapolated_from=8)) for block in PLAN.blocks),
        calibration_seconds=1e-9,
        alternatives=tuple(replace(other, seconds_total=seconds, peak_bytes=size) for other in PLAN.alternatives),
    )
    blocks = tuple(
        replace(each, measured_peak_bytes=size, measured_seconds_per_epoch=seconds, loss=1e300, calibration_seconds=1e9)
        for each in REPORT.blocks
    )
    report = replace(REPORT, plan_id=name, blocks=blocks, deviations=(name, name), peak_bytes=size)
    return [plan_table(plan), alternatives_table(plan), breakdown_table(plan), report_table(report, plan)]


def test_no_name_commands_the_terminal() -> None:
    for table in every_table(NASTY, 2**40, 1e6):
        assert all(line.isprintable() for line in table.split("\n"))
    assert "\ufffd[2J" in every_table(NASTY, 1, 1.0)[0]


@example("W" * 200, 2**40, 3e6)
@given(st.text(min_size=1, max_size=200), st.integers(0, 2**40), st.floats(0, 3e6))
def test_no_line_is_wider_than_110(name: str, size: int, seconds: float) -> None:
    for table in every_table(name, size, seconds):
        assert max(map(len, table.split("\n"))) <= 110


def test_a_plan_that_takes_no_time_is_still_shown() -> None:
    instant = replace(PLAN, predicted=replace(PLAN.predicted, seconds_total=0.0))
    assert "No plan is faster." in plan_table(instant)


def test_a_polish_is_shown_with_what_it_costs() -> None:
    table = plan_table(POLISHED)
    assert cells(table, "polish") == [
        "polish", "0–4", "alpha..omega", "0–4", "own", "–", "16 × 2", "data", mib(275_000_000), "8.0 s",
    ]  # fmt: skip
    said = flat(table)
    assert "then a polish: 2 epochs end to end, learning rate 0.005" in said
    assert f"16.5 s of the total time, at a peak of {mib(275_000_000)} MiB" in said
    assert "in block 0." in said  # the polish accumulates as well, but takes no statistics
    assert "polish" not in plan_table(PLAN)
    assert cells(breakdown_table(POLISHED), "polish")[1] == "0–4"
