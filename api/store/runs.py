"""Runs that devices report, and their samples of memory over time."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, select, update

from api.store.content import Page, page_of, timestamp
from api.store.database import Database, now_ms
from api.store.tables import plans, runs, samples

_ROWS_AT_ONCE = 5000
"""Samples that the database sorts at one time: SQLite takes 8 times as long for a million at once, on storage."""


@dataclass(frozen=True)
class RunKey:
    """What never changes about a run."""

    number: int
    """Its number."""
    plan_id: str
    """What it executes."""
    device_id: str | None
    """Which device's token began it; none: one without a device."""
    blocks: int
    """Blocks of the plan."""


def create(connection: Any, database: Database, identity: str, plan_id: str, device_id: str | None, name: str) -> None:
    """Begin a run, within the caller's transaction."""
    row = {"id": identity, "plan_id": plan_id, "device_id": device_id, "name": name.encode(), "created_ms": now_ms()}
    connection.execute(database.insert(runs).values(**row))


def key_of(database: Database, identity: str) -> RunKey | None:
    """The run of an id."""
    statement = (
        select(runs.c.number, runs.c.plan_id, runs.c.device_id, plans.c.blocks)
        .join(plans, plans.c.id == runs.c.plan_id)
        .where(runs.c.id == identity)
    )
    with database.read() as connection:
        row = connection.execute(statement).first()
    return None if row is None else RunKey(row.number, row.plan_id, row.device_id, row.blocks)


_COLUMNS = (
    runs.c.number,
    runs.c.id,
    runs.c.plan_id,
    runs.c.device_id,
    runs.c.name,
    runs.c.report_id,
    runs.c.created_ms,
    runs.c.finished_ms,
    plans.c.summary,
)


def page(database: Database, before: int | None, limit: int, conditions: tuple[ColumnElement[bool], ...]) -> Page:
    """Runs, newest first."""
    statement = select(*_COLUMNS).join(plans, plans.c.id == runs.c.plan_id).where(*conditions)
    return page_of(database, statement, runs.c.number, before, limit, _item)


def one(database: Database, identity: str) -> dict[str, Any] | None:
    """A run with its report, where there is one."""
    statement = select(*_COLUMNS, runs.c.report).join(plans, plans.c.id == runs.c.plan_id).where(runs.c.id == identity)
    with database.read() as connection:
        row = connection.execute(statement).first()
        if row is None:
            return None
        return {**_item(connection, row), "report": None if row.report is None else json.loads(row.report)}


def _item(connection: Any, row: Any) -> dict[str, Any]:
    plan = json.loads(row.summary)
    of_run = samples.c.run == row.number
    last = connection.execute(select(samples).where(of_run).order_by(samples.c.sequence.desc()).limit(1)).first()
    peak = connection.execute(select(func.max(samples.c.peak_bytes)).where(of_run)).scalar()
    return {
        "id": row.id,
        "name": row.name.decode(),
        "plan_id": row.plan_id,
        "device_id": row.device_id,
        "model": plan["model"],
        "budget": plan["budget"],
        "blocks": plan["blocks"],
        "state": "running" if row.finished_ms is None else "finished",
        "last_sample": None if last is None else _sample(last),
        "peak_bytes": peak,
        "created_at": timestamp(row.created_ms),
        "finished_at": timestamp(row.finished_ms),
    }


def _sample(row: Any) -> dict[str, Any]:
    names = ("sequence", "seconds", "block", "epoch", "step", "resident_bytes", "peak_bytes", "loss")
    return {name: getattr(row, name) for name in names}


def samples_after(database: Database, run: int, after: int, limit: int) -> list[dict[str, Any]]:
    """Samples as they came, behind sequence number `after`."""
    statement = select(samples).where(samples.c.run == run, samples.c.sequence > after)
    with database.read() as connection:
        rows = connection.execute(statement.order_by(samples.c.sequence).limit(limit)).all()
    return [_sample(row) for row in rows]


def chart(
    database: Database, run: RunKey, after: int, before: int | None, points: int
) -> tuple[int, list[dict[str, Any]]]:
    """At most `points` samples behind `after`, before `before`, and how many samples they stand for.

    Neighbours of one block become one, with their highest peak and mean resident bytes.
    """
    chosen = and_(samples.c.run == run.number, samples.c.sequence > after)
    if before is not None:
        chosen = and_(chosen, samples.c.sequence < before)
    ends = select(func.count(), func.min(samples.c.sequence), func.max(samples.c.sequence)).where(chosen)
    with database.read() as connection:
        count, first, last = connection.execute(ends).one()
        if not count:
            return 0, []
        # A stretch that two blocks share is two points, so there may be one more for each block but the first.
        stretches = max(1, points - run.blocks + 1)
        width = math.ceil((last - first + 1) / stretches)
        part = width * math.ceil(_ROWS_AT_ONCE / width)
        rows = [
            row
            for start in range(first, last + 1, part)
            for row in connection.execute(_stretches(run.number, start, min(start + part - 1, last), width))
        ]
    return count, [{**_sample(row), "resident_bytes": round(row.resident_bytes)} for row in rows][:points]


def _stretches(run: int, first: int, last: int, width: int) -> Any:
    """The samples from `first` to `last`, every `width` of them in one."""
    stretch = (samples.c.sequence - first) // width
    return (
        select(
            samples.c.block,
            func.max(samples.c.sequence).label("sequence"),
            func.max(samples.c.seconds).label("seconds"),
            func.max(samples.c.epoch).label("epoch"),
            func.max(samples.c.step).label("step"),
            func.avg(samples.c.resident_bytes).label("resident_bytes"),
            func.max(samples.c.peak_bytes).label("peak_bytes"),
            func.avg(samples.c.loss).label("loss"),
        )
        .where(samples.c.run == run, samples.c.sequence.between(first, last))
        .group_by(samples.c.block, stretch)
        .order_by(func.max(samples.c.sequence))
    )


def put_report(
    database: Database, identity: str, report_id: str, report: bytes
) -> Literal["created", "same", "another"]:
    """Keep a run's report, once."""
    fresh = and_(runs.c.id == identity, runs.c.report_id.is_(None))
    with database.write() as connection:
        done = connection.execute(
            update(runs).where(fresh).values(report=report, report_id=report_id, finished_ms=now_ms())
        )
        if done.rowcount:
            return "created"
        stored_id = connection.execute(select(runs.c.report_id).where(runs.c.id == identity)).scalar()
    return "same" if stored_id == report_id else "another"


def report_of(database: Database, run: int) -> bytes | None:
    """A finished run's report."""
    with database.read() as connection:
        found = connection.execute(select(runs.c.report).where(runs.c.number == run)).scalar()
    return None if found is None else bytes(found)
