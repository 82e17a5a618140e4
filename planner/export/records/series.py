"""A run as series over its optimizer steps, as trackers of experiments take it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planner.report.read import RunRecord
from planner.schema.run_folder import RunFolder


@dataclass(frozen=True)
class Point:
    """What was measured at one optimizer step."""

    step: int
    """Counts the optimizer steps of all blocks, from 0."""
    time: float
    """Seconds since 1970 (UTC)."""
    resident_bytes: int
    """Resident after the step, as the budget's scope counts it."""
    values: dict[str, float]
    """Loss, bytes and where training was, by name."""


def points(record: RunRecord, began: float) -> Iterator[Point]:
    """The run's samples in order. `began` is when it began, in seconds since 1970."""
    first, last = {0: 0}, -1
    for sample in record.samples:
        # A block's steps begin at 0 again, behind those of the blocks before it.
        first.setdefault(sample.block, last + 1)
        step = first[sample.block] + sample.step
        last = max(last, step)
        values = {
            "loss": sample.loss,
            "memory/resident_bytes": float(sample.resident_bytes),
            "memory/peak_bytes": float(sample.peak_bytes),
            "memory/predicted_peak_bytes": float(record.plan.stages[sample.block].predicted.peak_bytes),
            "memory/budget_bytes": float(record.plan.budget.bytes),
            "block": float(sample.block),
            "epoch": float(sample.epoch),
        }
        yield Point(step, began + sample.seconds, sample.resident_bytes, values)


def settings(record: RunRecord) -> dict[str, str | int | float]:
    """What the run was told."""
    plan, training = record.plan, record.plan.training
    return {
        "model": plan.model.name,
        "device": plan.device.name,
        "plan_id": plan.id,
        "strategy": plan.strategy,
        "budget_bytes": plan.budget.bytes,
        "scope": plan.budget.scope,
        "blocks": len(plan.blocks),
        "batch": training.batch,
        "epochs": training.epochs,
        "optimizer": training.optimizer.kind,
    }


def results(record: RunRecord) -> dict[str, float]:
    """What came out."""
    report = record.report
    return {
        "result/peak_bytes": float(report.peak_bytes),
        "result/predicted_peak_bytes": float(record.plan.predicted.peak_bytes),
        "result/within_budget": float(report.within_budget),
        "result/seconds": report.seconds,
        "result/accuracy": report.accuracy,
    }


def began_at(folder: Path, record: RunRecord) -> float:
    """When a run began, in seconds since 1970: when its report was written, less what it took. No document says it."""
    return RunFolder(folder).report.stat().st_mtime - record.report.seconds
