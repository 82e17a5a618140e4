"""The record of a run: where on its way it left its plan, also when it is taken up again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from planner.runner.protocol.events import BlockDone, BlockStarted, ChildReady, Deviation, Event, PhasePeak, Step
from planner.runner.supervise.record import Record, Telemetry, make_report
from planner.schema.codec import to_json
from planner.schema.plan import Plan
from planner.schema.report import PeakPosition, PhaseReport
from planner.schema.report_parts import ExitReport, Phase
from planner.schema.run_folder import RunFolder
from planner.units import MIB, format_bytes
from tests.unit.report.documents import PLAIN

GIB = 1024 * MIB


def _plan(budget_bytes: int) -> Plan:
    return replace(PLAIN, budget=replace(PLAIN.budget, bytes=budget_bytes, scope="process"))


def _step(number: int, peak_bytes: int = MIB) -> Step:
    return Step("step", 0, 0, number, 8, 1.0, MIB, peak_bytes)


def _tell(out: Path, record: Record, *events: Event) -> None:
    """What a supervisor does with a child's events."""
    telemetry = Telemetry(PLAIN, RunFolder(out).memory)
    for event in events:
        record.note(event)
        telemetry.observe(event, record)
    telemetry.close()


def _phase(phase: Phase, peak_bytes: int) -> BlockStarted:
    return BlockStarted("phase", 0, phase, 2, 8, 1, peak_bytes=peak_bytes)


def _done() -> BlockDone:
    exits = (ExitReport(5, 1, 0.5, 1.0),)
    return BlockDone("block-done", 0, 32, 1, MIB, 0.0, 0, 3, 1.0, exits, 0, 0.0)


def test_a_deviation_knows_how_many_steps_were_before_it(tmp_path: Path) -> None:
    record = Record(RunFolder(tmp_path))
    _tell(tmp_path, record, Deviation("deviation", "first"), _step(0), _step(1), Deviation("deviation", "second"))
    assert record.deviations == [("first", 0), ("second", 2)]


def test_what_was_known_is_taken_over_and_half_a_line_is_none(tmp_path: Path) -> None:
    _tell(tmp_path, Record(RunFolder(tmp_path)), _step(0), _step(1), Deviation("deviation", "before"), _step(2))
    with RunFolder(tmp_path).memory.open("a") as file:
        file.write('{"seconds": 1')
    record = Record(RunFolder(tmp_path))
    record.read(0)
    record.deviate("resumed")
    _tell(tmp_path, record, _step(2), _step(3), Deviation("deviation", "after"))
    assert record.deviations == [("before", 2), ("resumed", 3), ("after", 5)]
    assert RunFolder(tmp_path).memory.read_text().count("\n") == 5
    again = Record(RunFolder(tmp_path))
    again.read(0)
    assert again.deviations == record.deviations


def test_a_peak_above_the_budget_stands_at_the_step_that_had_it(tmp_path: Path) -> None:
    record = Record(RunFolder(tmp_path))
    _tell(tmp_path, record, _step(0), _step(1, 9 * GIB), _step(2), _done())
    record.deviate("later")
    report = make_report(_plan(8 * GIB), record, 1.0)
    assert [text.partition(" ")[0] for text in report.deviations] == ["later", "the"]
    assert report.deviation_steps == (3, 2)


def test_on_a_gpu_the_supervisor_takes_nothing_of_the_budget(tmp_path: Path) -> None:
    plan = _plan(8 * MIB)  # less than this process has in the processor's memory
    plan = replace(plan, device=replace(plan.device, kind="cuda"))
    record = Record(RunFolder(tmp_path))
    telemetry = Telemetry(plan, RunFolder(tmp_path).memory)
    for event in (_step(0, 7 * MIB), _done()):
        record.note(event)
        telemetry.observe(event, record)
    telemetry.close()
    line = json.loads(RunFolder(tmp_path).memory.read_text())
    assert (line["resident_bytes"], line["peak_bytes"]) == (MIB, 7 * MIB)
    report = make_report(plan, record, 1.0)
    assert (report.supervisor_peak_bytes, report.peak_bytes, report.within_budget) == (0, 7 * MIB, True)
    assert report.blocks[0].measured_peak_bytes == MIB


def test_a_peak_knows_the_phase_block_and_step_that_it_was_in(tmp_path: Path) -> None:
    """Finishing is highest: told when the next phase begins, and once more with the block."""
    phases = (PhasePeak("train", 2 * GIB, 7.5), PhasePeak("validate", 9 * GIB, 0.5), PhasePeak("cache", 3 * GIB))
    done = replace(_done(), peak_bytes=9 * GIB, phases=phases)
    record = Record(RunFolder(tmp_path))
    _tell(
        tmp_path,
        record,
        ChildReady("ready", MIB, 2 * MIB),
        _phase("train", 2 * MIB),
        _step(0, GIB),
        _step(1, 2 * GIB),
        _phase("validate", 2 * GIB),
        _phase("cache", 9 * GIB),
        done,
    )
    report = make_report(_plan(8 * GIB), record, 1.0)
    assert report.peak == PeakPosition("validate", 0, 2)
    over = report.peak_bytes - 8 * GIB
    expected = f"{format_bytes(over)} above the budget of 8.00 GiB, in block 0 while its heads were measured, behind 2"
    assert expected in report.deviations[0] and report.deviation_steps == (2,)
    assert "in block 0 while its heads were measured, behind 2 optimizer steps" in report.exceeded
    # What the plan says of every phase, and where it says nothing.
    own = report.supervisor_peak_bytes
    predicted = PLAIN.blocks[0].predicted.peak_bytes_by_phase
    assert report.blocks[0].phases == (
        PhaseReport("train", predicted.train, 2 * GIB + own, 7.5),
        PhaseReport("validate", predicted.validate or None, 9 * GIB + own, 0.5),
        PhaseReport("cache", predicted.cache or None, 3 * GIB + own),
    )


def test_what_starting_takes_is_at_the_start(tmp_path: Path) -> None:
    record = Record(RunFolder(tmp_path))
    _tell(tmp_path, record, ChildReady("ready", MIB, 9 * GIB), _phase("train", 9 * GIB), _step(0), _done())
    assert make_report(_plan(8 * GIB), record, 1.0).peak == PeakPosition("start", None, 0)


def test_a_block_of_an_earlier_session_knows_its_highest_phase(tmp_path: Path) -> None:
    phases = (PhasePeak("train", MIB), PhasePeak("cache", 3 * MIB))
    path = RunFolder(tmp_path).block_result(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(replace(_done(), peak_bytes=3 * MIB, phases=phases)))
    record = Record(RunFolder(tmp_path))
    record.read(1)
    assert record.peak == PeakPosition("cache", 0, 0)
    path.write_text(to_json(_done()))  # as an earlier release left it
    record = Record(RunFolder(tmp_path))
    record.read(1)
    assert (record.life_peak_bytes, record.peak) == (MIB, None)


def test_under_scope_training_the_peak_is_the_highest_blocks(tmp_path: Path) -> None:
    plan = replace(PLAIN, budget=replace(PLAIN.budget, bytes=MIB, scope="training"))
    done = replace(_done(), peak_bytes=3 * MIB, phases=(PhasePeak("prepare", 1), PhasePeak("validate", 3 * MIB)))
    record = Record(RunFolder(tmp_path))
    _tell(tmp_path, record, ChildReady("ready", MIB, GIB), _phase("train", GIB), _step(0), done)
    report = make_report(plan, record, 1.0)
    assert (report.peak_bytes, report.within_budget) == (2 * MIB, False)
    assert report.peak == PeakPosition("validate", 0, 3)
