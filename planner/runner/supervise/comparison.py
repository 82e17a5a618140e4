"""How far a run's networks are behind the same network trained by backpropagation. No torch here."""

from __future__ import annotations

from dataclasses import replace

from planner.errors import InputError
from planner.schema.codec import read_document
from planner.schema.report import ComparisonReport, Report
from planner.schema.run_folder import RunFolder


def compared(report: Report, other: Report) -> Report:
    """`report` with the gap to the full model of another run, of one block."""
    full, block = other.exits[-1], other.blocks[0]
    found = ComparisonReport(
        None,
        accuracy=full.accuracy,
        validation_accuracy=full.validation_accuracy,
        micro_batch=block.micro_batch,
        accumulate=block.accumulate,
        epochs=block.epochs,
        steps=block.steps,
        peak_bytes=other.peak_bytes,
        seconds=other.seconds,
    )
    return _with_gap(report, found)


def compared_before(report: Report, folder: RunFolder) -> Report:
    """`report`, made anew, with the comparison that the folder's report tells of, if any."""
    try:
        before = read_document(folder.report, Report)
    except InputError:
        return report
    is_same = before.plan_id == report.plan_id and before.comparison is not None
    return _with_gap(report, before.comparison) if is_same and before.comparison is not None else report


def _with_gap(report: Report, found: ComparisonReport) -> Report:
    if found.accuracy is None:
        return replace(report, comparison=found)
    metric, best = report.task.metric, report.task.metric.goodness(found.accuracy)
    behind, full_behind = (
        (best - metric.goodness(accuracy)) * metric.points for accuracy in (report.accuracy, report.exits[-1].accuracy)
    )
    return replace(report, comparison=replace(found, points_behind=behind, full_points_behind=full_behind))
