"""Runs of Trackio, put where its own importer puts them: on this machine, without a server."""

from __future__ import annotations

from datetime import UTC, datetime

from planner.export.records.series import points, results, settings
from planner.report.read import RunRecord
from planner.units import GIB

SYSTEM_METRIC = "memory/used"
"""Trackio's own name and unit (GiB) of memory in use."""


def write(record: RunRecord, name: str, began: float, target: str) -> str:
    """Add a run to the project `target`; what to open."""
    from trackio.sqlite_storage import SQLiteStorage

    found = list(points(record, began))
    times = [datetime.fromtimestamp(point.time, UTC).isoformat() for point in found]
    steps, values = [point.step for point in found], [point.values for point in found]
    if found:  # results stand at the last step
        values[-1] = {**values[-1], **results(record)}
    SQLiteStorage.bulk_log(
        project=target, run=name, metrics_list=values, steps=steps, timestamps=times, config=settings(record)
    )
    system = [{SYSTEM_METRIC: point.resident_bytes / GIB} for point in found]
    SQLiteStorage.bulk_log_system(project=target, run=name, metrics_list=system, timestamps=times)
    return f"trackio show --project {target}"
