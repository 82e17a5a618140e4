"""What lists of runs and plans are searched, filtered and sorted by, as their columns hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.store.tables import MAX_LISTED, MAX_WORDS
from planner.schema.report import Report


def words_of(*texts: str) -> str:
    """What is searched: upper and lower case are one."""
    return _printable(" ".join(texts).casefold())[:MAX_WORDS]


def column_text(text: str) -> str:
    """A name as a column holds it."""
    return _printable(text)[:MAX_LISTED]


def _printable(text: str) -> str:
    """PostgreSQL keeps no NUL."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def listed_plan(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a plan, by its summary."""
    names = {name: column_text(summary[name]) for name in ("model", "strategy", "device")}
    return {
        "words": words_of(*names.values()),
        **names,
        "budget_bytes": summary["budget"]["bytes"],
        "peak_bytes": summary["peak_bytes"],
        "seconds": summary["seconds_total"],
        "cuts": summary["cuts"],
    }


def listed_run(name: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a run, by its name and its plan's summary. The name leads, so that runs are sorted by it."""
    return {
        "words": words_of(name, summary["model"], summary["strategy"], summary["device"]),
        "model": column_text(summary["model"]),
        "budget_bytes": summary["budget"]["bytes"],
    }


def listed_report(report: Report) -> dict[str, Any]:
    """Columns of a run that its report fills."""
    return {"accuracy": report.accuracy, "seconds": report.seconds}
