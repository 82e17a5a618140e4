"""Runs that devices report, and their samples of memory over time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from api.limits import HEARD_SECONDS, SILENCE_SECONDS
from api.store import marks
from api.store.content import Page, page_of, timestamp
from api.store.database import Database, now_ms
from api.store.tables import devices, plans, runs, samples
from api.store.words import listed_report, listed_run
from planner.schema.report import Report

_ROWS_AT_ONCE = 5000
"""Samples that the database sorts at one time: SQLite takes 8 times as long for a million at once, on storage."""


@dataclass(frozen=True)
class RunKey:
    """What never changes about a run."""

    number: int
    """Its number. SQLite gives that of the newest run again once it is deleted, so it alone names no run."""
    id: str
    """Its id."""
    plan_id: str
    """What it executes."""
    device_id: str | None
    """Which device's token began it; none: one without a device."""
    blocks: int
    """What the plan trains one after another: blocks, and a polish as one more."""

    @property
    def is_it(self) -> ColumnElement[bool]:
        """Of runs: that it is this one, if that is still there."""
        return and_(runs.c.number == self.number, runs.c.id == self.id)


def create(connection: Any, database: Database, identity: str, plan_id: str, device_id: str | None, name: str) -> None:
    """Begin a run, within the caller's transaction."""
    row = {"id": identity, "plan_id": plan_id, "device_id": device_id, "name": name.encode()}
    summary = json.loads(connection.execute(select(plans.c.summary).where(plans.c.id == plan_id)).scalar_one())
    row |= listed_run(name, summary)
    now = now_ms()
    connection.execute(database.insert(runs).values(**row, state="queued", created_ms=now, heard_ms=now))


def key_of(database: Database, identity: str) -> RunKey | None:
    """The run of an id."""
    statement = (
        select(runs.c.number, runs.c.plan_id, runs.c.device_id, plans.c.blocks)
        .join(plans, plans.c.id == runs.c.plan_id)
        .where(runs.c.id == identity)
    )
    with database.read() as connection:
        row = connection.execute(statement).first()
    return None if row is None else RunKey(row.number, identity, row.plan_id, row.device_id, row.blocks)


OPEN = ("queued", "running")
"""States of a run that is expected to be heard of."""

_COLUMNS = (
    runs.c.number,
    runs.c.id,
    runs.c.plan_id,
    runs.c.device_id,
    runs.c.name,
    runs.c.report_id,
    runs.c.state,
    runs.c.reason,
    runs.c.peak_bytes,
    runs.c.accuracy,
    runs.c.seconds,
    runs.c.created_ms,
    runs.c.heard_ms,
    runs.c.finished_ms,
    *marks.columns(runs),
    plans.c.summary,
    devices.c.name.label("device_name"),
)

_JOINED = runs.join(plans, plans.c.id == runs.c.plan_id).outerjoin(devices, devices.c.id == runs.c.device_id)


def page(database: Database, before: int | None, limit: int, conditions: tuple[ColumnElement[bool], ...]) -> Page:
    """Runs, newest first."""
    statement = select(*_COLUMNS).select_from(_JOINED).where(*conditions)
    return page_of(database, statement, runs.c.number, before, limit, _item)


def items(connection: Connection, numbers: Sequence[int]) -> tuple[dict[str, Any], ...]:
    """The runs of these numbers, in this order, within the caller's transaction."""
    rows = connection.execute(select(*_COLUMNS).select_from(_JOINED).where(runs.c.number.in_(numbers))).all()
    found = {row.number: row for row in rows}
    return tuple(_item(connection, found[number]) for number in numbers)


def is_newest() -> ColumnElement[bool]:
    """Of runs: no later one is of the same device."""
    return runs.c.number.in_(select(func.max(runs.c.number)).group_by(runs.c.device_id))


def one(database: Database, identity: str) -> dict[str, Any] | None:
    """A run with its report, where there is one."""
    statement = select(*_COLUMNS, runs.c.report).select_from(_JOINED).where(runs.c.id == identity)
    with database.read() as connection:
        row = connection.execute(statement).first()
        if row is None:
            return None
        return {**_item(connection, row), "report": None if row.report is None else json.loads(row.report)}


def report(database: Database, identity: str) -> bytes | None:
    """The report of a run that is finished."""
    with database.read() as connection:
        found = connection.execute(select(runs.c.report).where(runs.c.id == identity)).scalar()
    return None if found is None else bytes(found)


def _item(connection: Any, row: Any) -> dict[str, Any]:
    plan = json.loads(row.summary)
    of_run = samples.c.run == row.number
    last = connection.execute(select(samples).where(of_run).order_by(samples.c.sequence.desc()).limit(1)).first()
    peak = row.peak_bytes  # of the report, which knows of caches and validation too
    if peak is None:
        peak = connection.execute(select(func.max(samples.c.peak_bytes)).where(of_run)).scalar()
    return {
        "id": row.id,
        "name": row.name.decode(),
        "plan_id": row.plan_id,
        "device_id": row.device_id,
        "device": row.device_name.decode() if row.device_name is not None else plan.get("device", ""),
        "model": plan["model"],
        "task": plan.get("task", "classification"),
        "budget": plan["budget"],
        "blocks": plan["blocks"],
        **state_of(row),
        "last_sample": None if last is None else _sample(last),
        "peak_bytes": peak,
        "accuracy": row.accuracy,
        "seconds": row.seconds if row.seconds is not None else None if last is None else last.seconds,
        "created_at": timestamp(row.created_ms),
        "heard_at": timestamp(row.heard_ms),
        "finished_at": timestamp(row.finished_ms),
        **marks.marks_of(row),
    }


def state_of(row: Any) -> dict[str, Any]:
    """How far a run is, and why. That one is lost nobody tells: it is silent."""
    if row.state in OPEN and now_ms() - row.heard_ms > 1000 * SILENCE_SECONDS:
        return {"state": "lost", "reason": f"nothing has been heard of it since {timestamp(row.heard_ms)}"}
    return {"state": row.state, "reason": None if row.reason is None else row.reason.decode()}


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


def have_reports(connection: Any, ids: Iterable[str]) -> dict[str, bool]:
    """Which of these runs have their report, within the caller's transaction; those that are gone are not in it."""
    chosen = select(runs.c.id, runs.c.report_id).where(runs.c.id.in_(ids))
    return {row.id: row.report_id is not None for row in connection.execute(chosen)}


def set_heard(connection: Any, numbers: Iterable[int]) -> None:
    """Say that these runs go on, within the caller's transaction."""
    now = now_ms()
    is_news = or_(runs.c.heard_ms < now - 1000 * HEARD_SECONDS, runs.c.state != "running")
    chosen = and_(runs.c.number.in_(numbers), runs.c.report_id.is_(None), is_news)
    connection.execute(update(runs).where(chosen).values(state="running", reason=None, heard_ms=now, thinned=None))


def set_state(database: Database, run: RunKey, state: str, reason: str | None) -> bool:
    """Say how far a run is; False where its report is there, which has the last word, or it was deleted."""
    values = {"state": state, "reason": None if reason is None else reason.encode(), "heard_ms": now_ms()}
    with database.write() as connection:
        chosen = and_(run.is_it, runs.c.report_id.is_(None))
        return bool(connection.execute(update(runs).where(chosen).values(**values)).rowcount)


def interrupt_runs_of(connection: Any, device_id: str, reason: str) -> None:
    """End what a device has not ended, within the caller's transaction."""
    chosen = and_(runs.c.device_id == device_id, runs.c.state.in_(OPEN))
    connection.execute(update(runs).where(chosen).values(state="interrupted", reason=reason.encode()))


def put_report(
    database: Database, run: RunKey, report_id: str, report: Report, text: bytes
) -> Literal["created", "same", "another", "gone"]:
    """Keep a run's report, once: with it the run is finished, and accepts nothing more."""
    fresh = and_(run.is_it, runs.c.report_id.is_(None))
    is_within = report.within_budget and report.peak_bytes <= report.budget_bytes
    said = {"state": "finished" if is_within else "over-budget", "reason": None, "peak_bytes": report.peak_bytes}
    now = now_ms()
    values = {"report": text, "report_id": report_id, **said, **listed_report(report)}
    values |= {"heard_ms": now, "finished_ms": now}
    with database.write() as connection:
        done = connection.execute(update(runs).where(fresh).values(**values))
        if done.rowcount:
            return "created"
        stored_id = connection.execute(select(runs.c.report_id).where(run.is_it)).scalar()
    return "gone" if stored_id is None else "same" if stored_id == report_id else "another"


def progress_of(database: Database, run: RunKey) -> tuple[dict[str, Any], bytes | None] | None:
    """How far a run is, and the report of a finished one; None where it was deleted."""
    statement = select(runs.c.state, runs.c.reason, runs.c.heard_ms, runs.c.report).where(run.is_it)
    with database.read() as connection:
        row = connection.execute(statement).first()
    if row is None:
        return None
    return state_of(row), None if row.report is None else bytes(row.report)
