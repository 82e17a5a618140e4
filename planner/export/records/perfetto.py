"""A trace in JSON that Perfetto and chrome://tracing open: bytes as counters, blocks as slices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from planner.report.read import RunRecord
from planner.system.files import write_atomically

_PROCESS = 1


def write(record: RunRecord, name: str, target: Path) -> str:
    """Write the trace; what to open."""
    document = {"displayTimeUnit": "ms", "traceEvents": list(_events(record, name))}
    write_atomically(target, json.dumps(document, allow_nan=False))
    return f"open {target} at https://ui.perfetto.dev (it stays in the browser)"


def _events(record: RunRecord, name: str) -> Iterator[dict[str, Any]]:
    """Times are microseconds since the run began."""
    yield {"ph": "M", "pid": _PROCESS, "name": "process_name", "args": {"name": f"neuroflux: {name}"}}
    yield {"ph": "M", "pid": _PROCESS, "tid": 1, "name": "thread_name", "args": {"name": "blocks"}}
    budget = record.plan.budget.bytes
    spans: dict[int, tuple[float, float]] = {}
    for sample in record.samples:
        begin, _ = spans.get(sample.block, (sample.seconds, sample.seconds))
        spans[sample.block] = begin, sample.seconds
        counted = {
            "resident": sample.resident_bytes,
            "peak of the step": sample.peak_bytes,
            "predicted peak": record.plan.stages[sample.block].predicted.peak_bytes,
            "budget": budget,
        }
        for key, value in counted.items():
            yield _counter(f"{key} (bytes)", sample.seconds, value)
        if math.isfinite(sample.loss):
            yield _counter("loss", sample.seconds, sample.loss)
    for block, (begin, end) in spans.items():
        stage = record.plan.stages[block]
        told = {"first unit": stage.units[0], "last unit": stage.units[1] - 1, "micro-batch": stage.micro_batch}
        yield {
            **{"ph": "X", "pid": _PROCESS, "tid": 1, "name": f"block {block}", "cat": "train"},
            **{"ts": begin * 1e6, "dur": (end - begin) * 1e6, "args": told},
        }


def _counter(name: str, seconds: float, value: float) -> dict[str, Any]:
    return {"ph": "C", "pid": _PROCESS, "name": name, "ts": seconds * 1e6, "args": {"value": value}}
