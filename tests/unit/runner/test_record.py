"""The record of a run: where on its way it left its plan, also when it is taken up again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from planner.report.schema import ExitReport
from planner.runner import paths
from planner.runner.events import BlockDone, Deviation, Step
from planner.runner.record import Record, Telemetry, make_report
from planner.solver.schema import Plan
from planner.units import MIB
from tests.unit.report.documents import PLAIN

GIB = 1024 * MIB


def _plan(budget_bytes: int) -> Plan:
    return replace(PLAIN, budget=replace(PLAIN.budget, bytes=budget_bytes, scope="process"))


def _step(number: int, peak_bytes: int = MIB) -> Step:
    return Step("step", 0, 0, number, 8, 1.0, MIB, peak_bytes)


def _tell(out: Path, record: Record, *events: Step | Deviation | BlockDone) -> None:
    """What a supervisor does with a child's events."""
    telemetry = Telemetry(PLAIN, out / paths.MEMORY)
    for event in events:
        record.note(event)
        telemetry.observe(event, record)
    telemetry.close()


def _done() -> BlockDone:
    exits = (ExitReport(5, 1, 0.5, 1.0),)
    return BlockDone("block-done", 0, 32, 1, MIB, 0.0, 0, 3, 1.0, exits, 0, 0.0)


def test_a_deviation_knows_how_many_steps_were_before_it(tmp_path: Path) -> None:
    record = Record(tmp_path)
    _tell(tmp_path, record, Deviation("deviation", "first"), _step(0), _step(1), Deviation("deviation", "second"))
    assert record.deviations == [("first", 0), ("second", 2)]


def test_what_was_known_is_taken_over_and_half_a_line_is_none(tmp_path: Path) -> None:
    _tell(tmp_path, Record(tmp_path), _step(0), _step(1), Deviation("deviation", "before"), _step(2))
    with (tmp_path / paths.MEMORY).open("a") as file:
        file.write('{"seconds": 1')
    record = Record(tmp_path)
    record.read(0)
    record.deviate("resumed")
    _tell(tmp_path, record, _step(2), _step(3), Deviation("deviation", "after"))
    assert record.deviations == [("before", 2), ("resumed", 3), ("after", 5)]
    assert (tmp_path / paths.MEMORY).read_text().count("\n") == 5
    again = Record(tmp_path)
    again.read(0)
    assert again.deviations == record.deviations


def test_a_peak_above_the_budget_stands_at_the_step_that_had_it(tmp_path: Path) -> None:
    record = Record(tmp_path)
    _tell(tmp_path, record, _step(0), _step(1, 9 * GIB), _step(2), _done())
    record.deviate("later")
    report = make_report(_plan(8 * GIB), record, 1.0)
    assert [text.partition(" ")[0] for text in report.deviations] == ["later", "the"]
    assert report.deviation_steps == (3, 2)


def test_on_a_gpu_the_supervisor_takes_nothing_of_the_budget(tmp_path: Path) -> None:
    plan = _plan(8 * MIB)  # less than this process has in the processor's memory
    plan = replace(plan, device=replace(plan.device, kind="cuda"))
    record = Record(tmp_path)
    telemetry = Telemetry(plan, tmp_path / paths.MEMORY)
    for event in (_step(0, 7 * MIB), _done()):
        record.note(event)
        telemetry.observe(event, record)
    telemetry.close()
    line = json.loads((tmp_path / paths.MEMORY).read_text())
    assert (line["resident_bytes"], line["peak_bytes"]) == (MIB, 7 * MIB)
    report = make_report(plan, record, 1.0)
    assert (report.supervisor_peak_bytes, report.peak_bytes, report.within_budget) == (0, 7 * MIB, True)
    assert report.blocks[0].measured_peak_bytes == MIB
