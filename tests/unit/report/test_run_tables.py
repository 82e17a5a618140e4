"""Tables of runs and evaluations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.report.run_tables import evaluation_table, report_table
from planner.schema.plan import Plan
from planner.schema.preprocessing import USUAL
from planner.schema.report import ComparisonReport, Evaluation, PeakPosition, Report
from planner.schema.request import Budget
from planner.units import MIB
from tests.unit.report.cells import cells, flat, mib, percent
from tests.unit.report.documents import (
    PLAN,
    POLISHED,
    POLISHED_REPORT,
    REPORT,
)


def test_a_run_is_set_beside_its_plan() -> None:
    table = report_table(REPORT, PLAN)
    assert cells(table, "0") == [
        "0", "0–2", "16 × 2", "3", "1.235", mib(255_000_000), mib(260_100_000), percent(260_100_000, 255_000_000),
        "3.2 s", "6.5 s", "+100.0%",
    ]  # fmt: skip
    assert cells(table, "1") == [
        "1", "3–4", "32 × 1", "0", "0.5", mib(271_000_000), mib(268_290_000), percent(268_290_000, 271_000_000),
        "4.8 s", "–", "–",
    ]  # fmt: skip


def calibrated(profiled: float | None, *run: float | None) -> tuple[Report, Plan]:
    """The report and plan with times of the calibration kernel."""
    blocks = [replace(one, calibration_seconds=now) for one, now in zip(REPORT.blocks, run, strict=True)]
    return replace(REPORT, blocks=tuple(blocks)), replace(PLAN, calibration_seconds=profiled)


def test_a_slower_device_is_told_and_taken_out_of_the_times() -> None:
    """Block 0 was predicted at 3.25 s and took 6.5 s with the device at half its speed: exactly as predicted."""
    report, plan = calibrated(0.002, 0.004, 0.002)
    table = report_table(report, plan)
    assert cells(table, "0")[10:] == ["+100.0%"]
    assert (
        "1.50× slower than when profiled (calibration kernel 3.0 ms; 2.0 ms then); "
        "at equal speed, epochs are off by +0.0% (block 0 +0.0%)" in flat(table)
    )


def test_equal_speed_is_by_block_and_over_all_that_ran_an_epoch() -> None:
    """At equal speed 6.5 s are 5.2 s beside 3.25 s (+60 %), and 4 s are 5 s beside 4.75 s (+5.3 %): 10.2 beside 8."""
    report, plan = calibrated(0.004, 0.005, 0.0032)
    ran = replace(report.blocks[1], measured_seconds_per_epoch=4.0)
    table = report_table(replace(report, blocks=(report.blocks[0], ran)), plan)
    said = "at equal speed, epochs are off by +27.5% (block 0 +60.0%, block 1 +5.3%)"
    assert said in flat(table)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (0.0025, "1.60× faster than when profiled (calibration kernel 2.5 ms; 4.0 ms then)"),
        (0.00404, "as fast as when profiled (calibration kernel 4.0 ms; 4.0 ms then)"),
        (0.00396, "as fast as when profiled (calibration kernel 4.0 ms; 4.0 ms then)"),
    ],
)
def test_a_faster_or_equal_device_is_told(now: float, said: str) -> None:
    assert said in flat(report_table(*calibrated(0.004, now, now)))


@pytest.mark.parametrize(("profiled", "run"), [(None, 0.004), (0.004, None), (None, None)])
def test_nothing_is_said_of_speed_where_either_time_is_unknown(profiled: float | None, run: float | None) -> None:
    assert report_table(*calibrated(profiled, run, run)) == report_table(REPORT, PLAN)


def test_speed_is_told_without_a_whole_epoch_too() -> None:
    report, plan = calibrated(0.002, 0.004, 0.004)
    blocks = tuple(replace(one, measured_seconds_per_epoch=0.0) for one in report.blocks)
    said = flat(report_table(replace(report, blocks=blocks), plan))
    assert "2.00× slower than when profiled (calibration kernel 4.0 ms; 2.0 ms then)" in said
    assert "equal speed" not in said


def test_a_large_difference_is_a_multiple() -> None:
    slow = replace(REPORT.blocks[0], measured_seconds_per_epoch=130.0)
    assert cells(report_table(replace(REPORT, blocks=(slow,)), PLAN), "0")[9:] == ["2 min 10 s", "×40"]
    unknown = replace(slow, predicted_peak_bytes=0)
    assert cells(report_table(replace(REPORT, blocks=(unknown,)), PLAN), "0")[7] == "–"


def test_the_verdict_under_the_budget() -> None:
    """272 629 760 = 260 MiB = 240 + 20."""
    assert (
        "stayed under 267.0 MiB: yes, peak 260.0 MiB (child 240.0 MiB + supervisor 20.0 MiB)"
        in report_table(REPORT, PLAN).splitlines()
    )


def test_the_verdict_above_the_budget() -> None:
    over = replace(REPORT, peak_bytes=280_000_000 + 1536 * 1024, within_budget=False)
    assert "stayed under 267.0 MiB: NO, peak 268.5 MiB, 1.5 MiB above it" in flat(report_table(over, PLAN))


def test_the_verdict_names_what_lies_in_memory() -> None:
    said = flat(report_table(replace(REPORT, stored_in_memory_bytes=2**23, peak_bytes=268 * 2**20), PLAN))
    assert "child 240.0 MiB + supervisor 20.0 MiB + up to 8.0 MiB in an output folder that is memory)" in said


def test_the_verdict_under_scope_training_names_the_baseline() -> None:
    report = replace(REPORT, scope="training")
    said = flat(report_table(report, replace(PLAN, budget=Budget(280_000_000, "training"))))
    assert f"yes, peak 260.0 MiB (above the child's baseline of {mib(171_000_000)} MiB)" in said
    assert "supervisor" not in said


def test_exits_accuracy_time_and_cache_are_shown() -> None:
    table = report_table(REPORT, PLAN)
    # Of the full model: 1 234 of 5 678 901 parameters, 812.25 of 99.5 samples/s.
    assert cells(table, "alpha") == ["alpha", "1", "pooled", "1,234", "0.0%", "25.0%", "–", "812.2", "8.16"]
    assert cells(table, "*") == ["*", "omega", "5", "own", "5,678,901", "100.0%", "81.2%", "–", "99.5", "1.00"]
    assert cells(table, "accuracy") == ["accuracy", "81.2% of test samples, by the full model"]
    told = tuple(replace(found, samples=10_000) for found in REPORT.exits)
    counted = report_table(replace(REPORT, exits=told, samples=10_000), PLAN)
    assert cells(counted, "accuracy") == ["accuracy", "81.25% of 10,000 test samples, by the full model"]
    assert cells(counted, "alpha")[5] == "25.0%"
    few = tuple(replace(found, samples=16) for found in REPORT.exits)
    table_of_few = report_table(replace(REPORT, exits=few, samples=16), PLAN)
    assert cells(table_of_few, "alpha")[5] == "4/16"
    assert "accuracy 13 of 16 test samples (95% interval: 57.0% to 93.4%), by the full model" in flat(table_of_few)
    assert "kept the full model (*); no samples were held out" in flat(table)
    assert "warning" not in table
    assert cells(table, "time") == ["time", "3 min 05 s"]
    assert cells(table, "cache") == ["cache", "70.0 MiB written; training waited 1.5 s for samples"]


def test_the_exit_that_is_good_enough_is_marked_and_explained() -> None:
    exits = tuple(
        replace(found, validation_accuracy=accuracy)
        for found, accuracy in zip(REPORT.exits, (0.8101, 0.8151), strict=True)
    )
    chosen = replace(REPORT, exits=exits, chosen_exit=1, exit_tolerance=0.5, best_exit=5)
    table = report_table(chosen, PLAN)
    assert cells(table, "best")[:3] == ["best", "omega", "5"]
    assert "by the full model, the best on held-out samples (81.5%)" in flat(table)
    assert "kept the full model as model.safetensors, and as exit.safetensors" in flat(table)
    assert cells(table, "*") == ["*", "alpha", "1", "pooled", "1,234", "0.0%", "25.0%", "81.0%", "812.2", "8.16"]
    assert "as exit.safetensors the smallest exit (*) that loses at most 0.5 points" in flat(table)
    alone = report_table(replace(chosen, chosen_exit=5), PLAN)
    assert "full model as model.safetensors; every smaller exit than that (*) loses more than 0.5" in flat(alone)
    assert cells(alone, "best *")[:2] == ["best *", "omega"]


def test_the_best_exit_is_named_where_it_is_not_the_full_model() -> None:
    exits = tuple(
        replace(found, validation_accuracy=accuracy)
        for found, accuracy in zip(REPORT.exits, (0.9051, 0.8151), strict=True)
    )
    better = replace(REPORT, exits=exits, chosen_exit=1, exit_tolerance=0.5, best_exit=1, accuracy=0.25)
    said = flat(report_table(better, PLAN))
    assert "25.0% of test samples, by the exit behind unit 1 (alpha), the best on held-out samples (90.5%)" in said
    assert "(alpha) as model.safetensors, the full model as full.safetensors; every smaller exit than that (*)" in said
    # A report from before there was a best exit is about the full model.
    old = flat(report_table(replace(better, best_exit=None, accuracy=0.8125), PLAN))
    assert "accuracy 81.2% of test samples, by the full model kept the full model as model.safetensors, and as" in old


def test_an_exit_that_test_samples_find_better_is_told_where_none_were_held_out() -> None:
    exits = (replace(REPORT.exits[0], accuracy=0.9), REPORT.exits[1])
    said = flat(report_table(replace(REPORT, exits=exits), PLAN))
    assert "by the full model" in said
    assert "warning on test samples the exit behind unit 1 is better than the full model: 90.0%" in said
    held_out = tuple(replace(found, validation_accuracy=0.5) for found in exits)
    chosen = replace(REPORT, exits=held_out, best_exit=5, exit_tolerance=0.5)
    assert "warning" not in flat(report_table(chosen, PLAN))


def test_an_evaluation_is_shown() -> None:
    found = Evaluation("evaluation/1", "net", 12_345, "sample", 1000, 0.8765, 321.06, 4.25, 64, 2**28, 2**29)
    table = evaluation_table(found)
    assert cells(table, "model") == ["model", "net: 12,345 parameters"]
    # Wilson's interval of 876.5 of 1000, by R: binom.confint(876.5, 1000, methods="wilson").
    expected = "87.6% of 1,000 test samples (95% interval: 85.5% to 89.5%)"
    assert cells(table, "accuracy") == ["accuracy", expected]
    assert cells(table, "data") == ["data", "sample"]
    assert cells(table, "speed") == ["speed", "321.1 samples/s, 64 at a time"]
    assert cells(table, "time") == ["time", "4.2 s, reading samples and weights included"]
    assert cells(table, "peak") == ["peak", "256.0 MiB of 512.0 MiB, everything resident"]
    assert cells(evaluation_table(replace(found, budget_bytes=None)), "peak")[1].startswith("256.0 MiB, ")
    images = replace(found, normalisation=USUAL, resize="bilinear", shorter_side=36, input=(3, 32, 32))
    said = "first resized to a shorter side of 36 (bilinear, proportions kept), the middle 32×32 cut out"
    assert f"images went in as (value / 255 - 0.5) / 0.25; {said}" in flat(evaluation_table(images))


def test_deviations_are_listed() -> None:
    assert "The run followed its plan." in report_table(REPORT, PLAN)
    deviating = replace(REPORT, deviations=("block 0: micro-batch 8 instead of 16", "x" * 150))
    said = report_table(deviating, PLAN)
    assert "The run left its plan:" in said
    assert "The run followed" not in said
    assert "-  block 0: micro-batch 8 instead of 16" in said
    assert said.count("x") >= 150


def test_a_report_whose_units_are_not_the_plans_is_still_shown() -> None:
    strange = replace(REPORT, exits=(replace(REPORT.exits[0], unit=0), replace(REPORT.exits[1], unit=99)))
    assert "99" in report_table(strange, PLAN)


def test_a_polish_stands_behind_the_blocks() -> None:
    table = report_table(POLISHED_REPORT, POLISHED)
    assert cells(table, "polish") == [
        "polish", "0–4", "16 × 2", "2", "0.25", mib(275_000_000), mib(270_000_000), percent(270_000_000, 275_000_000),
        "8.0 s", "9.0 s", "+12.5%",
    ]  # fmt: skip
    metric = REPORT.task.metric
    before, behind = metric.share(0.75, None), metric.share(0.8125, None)
    assert f"2 epochs end to end took the full model from {before} to {behind}" in flat(table)
    assert PeakPosition("train", 2, 90, is_polish=True).words == (
        "in the polish while it was trained, behind 90 optimizer steps"
    )


def test_a_comparison_is_told_with_the_gap() -> None:
    metric = REPORT.task.metric
    found = ComparisonReport(None, 0.93, points_behind=1.25, full_points_behind=1.25, peak_bytes=300 * MIB, seconds=90)
    said = flat(report_table(replace(REPORT, comparison=found), PLAN))
    share = metric.share(0.93, REPORT.exits[-1].samples)
    assert f"backpropagation in ample memory: {metric.name} {share}, the network that came out is 1.25 points b" in said
    assert "(peak 300.0 MiB, 1 min 30 s, outside the budget)" in said
    better = replace(found, points_behind=-0.5, full_points_behind=0.004)
    said = flat(report_table(replace(REPORT, comparison=better, best_exit=1), PLAN))
    assert "the network that came out is 0.50 points ahead, its full model as good" in said
    failed = replace(REPORT, comparison=ComparisonReport("no memory"))
    assert "did not come to its end (no memory)" in flat(report_table(failed, PLAN))


def waiting(*permille: int | None) -> Report:
    """The report with what each block waited for a processor."""
    blocks = [replace(one, waited_permille=found) for one, found in zip(REPORT.blocks, permille, strict=True)]
    return replace(REPORT, blocks=tuple(blocks))


def test_waiting_for_a_processor_is_told_and_taken_out_of_the_times() -> None:
    """Block 0 was predicted at 3.25 s and took 6.5 s, half of them without a processor; block 1 has no whole epoch."""
    said = "50% of the epochs' time went by waiting for a processor that other processes had"
    assert f"{said}; without that, epochs are off by +0.0%" in flat(report_table(waiting(500, 900), PLAN))


@pytest.mark.parametrize("permille", [None, 0, 19])
def test_nothing_is_said_of_hardly_any_waiting(permille: int | None) -> None:
    assert report_table(waiting(permille, 900), PLAN) == report_table(REPORT, PLAN)
