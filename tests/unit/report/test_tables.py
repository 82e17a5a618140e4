from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from planner.model.spec import BatchNorm2d
from planner.profiler.schema import PieceProfile, Profile
from planner.report.tables import alternatives_table, breakdown_table, plan_table, profile_table, report_table
from planner.solver.schema import Budget, Strategy
from tests.unit.report.documents import (
    MODEL,
    NORM,
    PLAIN,
    PLAN,
    RELU,
    REPORT,
    RESIDUAL,
    block,
    make_model,
    make_plan,
    prediction,
)
from tests.unit.solver.tiny import tiny_profile


def mib(count: int) -> str:
    """Bytes in MiB with one digit, by decimal arithmetic."""
    return str((Decimal(count) / 1048576).quantize(Decimal("0.1")))


def percent(value: int | float, reference: int | float) -> str:
    share = (Decimal(value) / Decimal(reference) - 1) * 100
    return f"{share.quantize(Decimal('0.1')):+f}%"


def cells(table: str, first: str, occurrence: int = 0) -> list[str]:
    """The cells of the row whose first cell is `first`."""
    rows = [re.split(r" {2,}", line.strip()) for line in table.splitlines() if line.strip()]
    return [row for row in rows if row[0] == first][occurrence]


def flat(table: str) -> str:
    return " ".join(table.split())


def test_a_plan_is_shown_block_by_block() -> None:
    table = plan_table(PLAN)
    assert cells(table, "0") == [
        "0", "0–2", "alpha..gamma", "0", "8", "16 × 2", "data", mib(255_000_000), "transient", "3.2 s",
    ]  # fmt: skip
    assert cells(table, "1–2") == ["1–2", "24"]
    assert cells(table, "1") == [
        "1", "3–4", "delta..omega", "3–4", "own", "32 × 1", "cache", mib(271_000_000), "runtime", "4.8 s",
    ]  # fmt: skip


def test_a_plan_says_what_was_asked_for() -> None:
    table = plan_table(PLAN)
    assert cells(table, "plan") == ["plan", "abcdef012345"]
    assert cells(table, "model") == ["model", "small-net: 5 units, 3×20×30, 7 classes"]
    assert cells(table, "device") == ["device", "board: cpu, 2 threads"]
    assert cells(table, "budget") == ["budget", f"{mib(280_000_000)} MiB, scope process, 4.0 MiB of it in reserve"]
    assert cells(table, "strategy") == ["strategy", "auto, prefer balanced"]
    assert "batch 32, 3 epochs of 640 samples per block, sgd with learning rate 0.05, cosine schedule" in flat(table)


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
        "The plan with the fewest cuts has 0 cuts in 40.0 s (60.0% more time)." in flat(plan_table(PLAN))
    )


def test_a_plan_at_an_end_of_the_frontier_says_so() -> None:
    fastest = replace(PLAN.predicted, seconds_total=20.0)
    said = flat(plan_table(replace(PLAN, prefer="speed", predicted=fastest)))
    assert "speed: 2 cuts in 20.0 s. No plan is faster. The plan with the fewest cuts" in said
    fewest = replace(PLAN.predicted, seconds_total=40.0)
    said = flat(plan_table(replace(PLAIN, prefer="fidelity", predicted=fewest)))
    assert (
        "fidelity: 0 cuts in 40.0 s. The fastest plan has 3 cuts in 20.0 s (50.0% less time). No plan has fewer" in said
    )


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


def test_equal_segments_of_one_unit_share_a_line() -> None:
    model = make_model(tuple(f"u{index}" for index in range(9)))
    plan = make_plan(model, (block(0, (1, 2, 3, 5, 6, 7, 8, 9), (8, 8, 8, 8, 8, 8, 4, None), 32),))
    rows = plan_table(plan).split("\n\n")[1].splitlines()
    found = [re.split(r" {2,}", row.strip())[3 if position == 0 else 0] for position, row in enumerate(rows[4:])]
    assert found == ["0–2 each", "3–4", "5", "6", "7", "8"]


def test_a_long_chain_of_equal_segments_is_one_line() -> None:
    model = make_model(tuple(f"u{index}" for index in range(300)))
    plan = make_plan(model, (block(0, tuple(range(1, 301)), (256,) * 299 + (None,), 32),))
    assert cells(plan_table(plan), "0")[3:5] == ["0–298 each", "256"]
    assert cells(plan_table(plan), "299") == ["299", "own"]


def test_alternatives_show_every_strategy_and_mark_the_plan() -> None:
    table = alternatives_table(PLAN)
    assert cells(table, "auto", 0) == ["auto", "yes", mib(279_000_000), "40.0 s", "0", "1", "0.0"]
    assert cells(table, "*") == ["*", "auto", "yes", mib(271_000_000), "25.0 s", "2", "2", mib(64_000_000)]
    assert cells(table, "auto", 1) == ["auto", "yes", mib(265_000_000), "20.0 s", "3", "2", mib(63_000_000)]
    assert cells(table, "backprop") == ["backprop", "yes", mib(279_000_000), "45.0 s", "0", "1", "0.0"]
    for strategy in ("classic-local", "neuroflux"):
        assert cells(table, strategy)[:2] == [strategy, "does not fit"]
    assert "under 267.0 MiB, scope process" in table


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


def test_the_verdict_under_scope_training_names_the_baseline() -> None:
    report = replace(REPORT, scope="training")
    said = flat(report_table(report, replace(PLAN, budget=Budget(280_000_000, "training"))))
    assert f"yes, peak 260.0 MiB (above the child's baseline of {mib(171_000_000)} MiB)" in said
    assert "supervisor" not in said


def test_exits_accuracy_time_and_cache_are_shown() -> None:
    table = report_table(REPORT, PLAN)
    assert cells(table, "alpha") == ["alpha", "1", "1,234", "25.0%", "812.2"]
    assert cells(table, "*") == ["*", "omega", "5", "5,678,901", "81.2%", "99.5"]
    assert cells(table, "accuracy") == ["accuracy", "81.2% at the exit kept (*)"]
    assert cells(table, "time") == ["time", "3 min 05 s"]
    assert cells(table, "cache") == ["cache", "70.0 MiB written; training waited 1.5 s for samples"]


def test_deviations_are_listed() -> None:
    assert "The run followed its plan." in report_table(REPORT, PLAN)
    deviating = replace(REPORT, deviations=("block 0: micro-batch 8 instead of 16", "x" * 150))
    said = report_table(deviating, PLAN)
    assert "The run left its plan:" in said
    assert "The run followed" not in said
    assert "-  block 0: micro-batch 8 instead of 16" in said
    assert said.count("x") >= 150


def timed(unit: PieceProfile) -> PieceProfile:
    costs = replace(unit.costs[-1], forward_seconds=0.010, backward_seconds=0.018, first_backward_seconds=0.007)
    return replace(unit, costs=(*unit.costs[:-1], costs))


def small_profile() -> Profile:
    profile = tiny_profile()
    first, second = profile.units
    units = (
        replace(first, flops=1_250_000, parameters=4_321, output_bytes=5120, step_seconds=0.25),
        replace(second, flops=750_000, step_seconds=0.002),
    )
    units = (timed(units[0]), timed(units[1]))
    storage = replace(profile.storage, write_bytes_per_second=30 * 2**20, read_bytes_per_second=2**31)
    runtime = replace(profile.runtime, baseline_bytes=170 * 2**20, start_peak_bytes=180 * 2**20, overhead_permille=12)
    return replace(profile, units=units, storage=storage, runtime=runtime, uncounted_operators=("aten::x", "aten::y"))


def test_a_profile_is_shown_unit_by_unit_at_its_largest_micro_batch() -> None:
    """At micro-batch 2 forward takes 10 ms, backward 18, as first 7: a sample half of that."""
    table = profile_table(small_profile())
    assert "at micro-batch 2" in table
    assert cells(table, "0") == ["0", "unit0", "4,321", "1.25", "5.0", "0.0", "0.0", "5.000", "3.500", "250.000"]
    assert cells(table, "1") == ["1", "unit1", "12", "0.75", "0.0", "0.0", "0.0", "5.000", "9.000", "2.000"]
    assert cells(table, "total") == ["total", "4,333", "2.00", "0.0", "10.000", "12.500", "252.000"]


def test_a_profile_shows_memory_of_the_case_that_applies() -> None:
    """The first unit as first of a segment, the second behind another; what is kept adds up."""
    profile = small_profile()
    sizes = {"first": (3, 5), "inner": (7, 11)}
    units = []
    for unit in profile.units:
        traces = unit.costs[-1].traces
        changed = {
            name: replace(
                getattr(traces, name),
                forward_peak_bytes=2**30,
                kept_bytes=kept * 2**20,
                backward_peak_bytes=peak * 2**20,
            )
            for name, (kept, peak) in sizes.items()
        }
        costs = (*unit.costs[:-1], replace(unit.costs[-1], traces=replace(traces, **changed)))
        units.append(replace(unit, costs=costs))
    table = profile_table(replace(profile, units=tuple(units)))
    assert cells(table, "0")[5:7] == ["3.0", "5.0"]
    assert cells(table, "1")[5:7] == ["7.0", "11.0"]
    assert cells(table, "total")[3] == "10.0"


def test_a_profile_shows_the_process_and_the_storage() -> None:
    table = profile_table(small_profile())
    assert cells(table, "child") == ["child", "170.0 MiB at rest, 180.0 MiB to start"]
    assert cells(table, "supervisor") == ["supervisor", "200 B"]
    assert cells(table, "overhead") == ["overhead", "5 B + 1.2% of a step's peak"]
    assert cells(table, "storage") == ["storage", "writes 30.0 MiB/s, reads 2.00 GiB/s"]
    assert cells(table, "not counted") == ["not counted", "aten::x, aten::y (missing in multiply-adds)"]
    assert "not counted" not in profile_table(tiny_profile())


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
        blocks=tuple(replace(block, predicted=shown) for block in PLAN.blocks),
        alternatives=tuple(replace(other, seconds_total=seconds, peak_bytes=size) for other in PLAN.alternatives),
    )
    blocks = tuple(
        replace(each, measured_peak_bytes=size, measured_seconds_per_epoch=seconds, loss=1e300)
        for each in REPORT.blocks
    )
    report = replace(REPORT, plan_id=name, blocks=blocks, deviations=(name, name), peak_bytes=size)
    profile = replace(small_profile(), device=device, uncounted_operators=(name, name))
    profile = replace(profile, model=replace(profile.model, name=name, units=(model.units[0], model.units[1])))
    parts = [plan_table(plan), alternatives_table(plan), breakdown_table(plan), report_table(report, plan)]
    return [*parts, profile_table(profile)]


def test_no_name_commands_the_terminal() -> None:
    for table in every_table(NASTY, 2**40, 1e6):
        assert all(line.isprintable() for line in table.split("\n"))
    assert "\ufffd[2J" in every_table(NASTY, 1, 1.0)[0]


@example("W" * 200, 2**40, 3e6)
@given(st.text(min_size=1, max_size=200), st.integers(0, 2**40), st.floats(0, 3e6))
def test_no_line_is_wider_than_110(name: str, size: int, seconds: float) -> None:
    for table in every_table(name, size, seconds):
        assert max(map(len, table.split("\n"))) <= 110


def test_a_report_whose_units_are_not_the_plans_is_still_shown() -> None:
    strange = replace(REPORT, exits=(replace(REPORT.exits[0], unit=0), replace(REPORT.exits[1], unit=99)))
    assert "99" in report_table(strange, PLAN)


def test_a_plan_that_takes_no_time_is_still_shown() -> None:
    instant = replace(PLAN, predicted=replace(PLAN.predicted, seconds_total=0.0))
    assert "No plan is faster." in plan_table(instant)
