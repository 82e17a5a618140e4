"""Jobs, which are their rows: the table is the queue between the service and its workers.

A row moves queued → running → done, failed or cancelled. Workers take the oldest that is queued. A running one is held
by a lease that its worker renews; one whose lease has run out was held by a worker that is gone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from sqlalchemy import and_, func, select, update

from api.limits import JOB_ATTEMPTS, LEASE_SECONDS, MAX_QUEUED_JOBS
from api.problems import overloaded
from api.store.content import Page, page_of, timestamp
from api.store.database import Database, now_ms
from api.store.tables import jobs

ACTIVE = ("queued", "running")

GONE = "its worker was killed twice while it ran (most likely for lack of memory); it is not tried again"


@dataclass(frozen=True)
class Claim:
    """A job that a worker has taken."""

    id: str
    """Its id."""
    request: Any
    """What is to be done: plain JSON values."""
    worker: str
    """Who holds it."""


def create(connection: Any, database: Database, identity: str, request_id: str, request: bytes) -> str:
    """Queue a job, within the caller's transaction; its id, or that of an equal one that is not finished yet.

    Raises Problem (429) where too many wait.
    """
    same = select(jobs.c.id).where(jobs.c.request_id == request_id, jobs.c.state.in_(ACTIVE), jobs.c.cancel.is_(False))
    found = connection.execute(same.limit(1)).scalar()
    if found is not None:
        return str(found)
    queued = connection.execute(select(func.count()).where(jobs.c.state == "queued")).scalar_one()
    if queued >= MAX_QUEUED_JOBS:
        raise overloaded(f"{queued} jobs wait already", HTTPStatus.TOO_MANY_REQUESTS, seconds=60)
    row = {"id": identity, "kind": "profile", "state": "queued", "request_id": request_id, "request": request}
    start = {"phase": "waiting", "done": 0, "total": 0, "attempts": 0, "cancel": False, "created_ms": now_ms()}
    connection.execute(jobs.insert().values(**row, **start))
    return identity


def claim_next(database: Database, worker: str) -> Claim | None:
    """Take the job that has been queued for longest; None where none is."""
    oldest = select(jobs.c.id, jobs.c.request).where(jobs.c.state == "queued").order_by(jobs.c.number).limit(1)
    with database.read() as connection:  # most of the time there is none, and a look keeps nobody from writing
        if connection.execute(oldest).first() is None:
            return None
    now = now_ms()
    taken = {
        "state": "running",
        "worker": worker,
        "lease_ms": now + int(LEASE_SECONDS * 1000),
        "attempts": jobs.c.attempts + 1,
        "started_ms": now,
        "phase": "starting",
        "done": 0,
        "total": 0,
    }
    with database.write() as connection:
        # PostgreSQL has several writers at a time: each takes a row that no other is about to take.
        found = connection.execute(oldest.with_for_update(skip_locked=True)).first()
        if found is None:
            return None
        connection.execute(update(jobs).where(jobs.c.id == found.id).values(**taken))
    return Claim(found.id, json.loads(found.request), worker)


def renew(database: Database, claim: Claim, phase: str, done: int, total: int) -> bool:
    """Say how far a job is and keep it; False where it is to be given up (cancelled, or lost to another worker)."""
    values = {"lease_ms": now_ms() + int(LEASE_SECONDS * 1000), "phase": phase[:200], "done": done, "total": total}
    mine = _mine(claim)
    with database.write() as connection:
        return bool(connection.execute(update(jobs).where(mine, jobs.c.cancel.is_(False)).values(**values)).rowcount)


def _mine(claim: Claim) -> Any:
    return and_(jobs.c.id == claim.id, jobs.c.state == "running", jobs.c.worker == claim.worker)


def finish(database: Database, claim: Claim, profile_id: str | None, error: str | None) -> None:
    """End a job that this worker still holds: done, failed, or cancelled where that was asked for."""
    state = "done" if profile_id is not None else "failed"
    with database.write() as connection:
        asked = connection.execute(select(jobs.c.cancel).where(_mine(claim))).scalar()
        if asked and profile_id is None:
            state, error = "cancelled", None
        values = {"state": state, "profile_id": profile_id, "error": None if error is None else error.encode()}
        connection.execute(update(jobs).where(_mine(claim)).values(**values, finished_ms=now_ms(), lease_ms=None))


def give_back(database: Database, claim: Claim, error: str) -> bool:
    """Put a job whose child was killed back into the queue, once; False where it has failed for good."""
    with database.write() as connection:
        return bool(_requeue(connection, _mine(claim), error))


def reclaim(database: Database) -> None:
    """Queue the jobs again whose worker is gone; fail those that were retried."""
    with database.write() as connection:
        _requeue(connection, and_(jobs.c.state == "running", jobs.c.lease_ms < now_ms()), GONE)


def _requeue(connection: Any, chosen: Any, error: str) -> int:
    ended = {"finished_ms": now_ms(), "lease_ms": None}
    connection.execute(update(jobs).where(chosen, jobs.c.cancel.is_(True)).values(state="cancelled", **ended))
    over = and_(chosen, jobs.c.attempts >= JOB_ATTEMPTS)
    connection.execute(update(jobs).where(over).values(state="failed", error=error.encode(), **ended))
    again = update(jobs).where(chosen).values(state="queued", phase="waiting again", worker=None, lease_ms=None)
    return int(connection.execute(again).rowcount)


def cancel(database: Database, identity: str) -> bool:
    """Cancel a job that waits, ask the worker of one that runs; False where it has ended already."""
    queued = and_(jobs.c.id == identity, jobs.c.state == "queued")
    running = and_(jobs.c.id == identity, jobs.c.state == "running")
    with database.write() as connection:
        done = connection.execute(
            update(jobs).where(queued).values(state="cancelled", cancel=True, finished_ms=now_ms())
        ).rowcount
        return bool(done or connection.execute(update(jobs).where(running).values(cancel=True)).rowcount)


def one(database: Database, identity: str) -> dict[str, Any] | None:
    """A job as it is shown."""
    with database.read() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == identity)).first()
    return None if row is None else _item(row)


def page(database: Database, before: int | None, limit: int, conditions: tuple[Any, ...] = ()) -> Page:
    """Jobs, newest first."""
    statement = select(jobs).where(*conditions)
    return page_of(database, statement, jobs.c.number, before, limit, lambda connection, row: _item(row))


def _item(row: Any) -> dict[str, Any]:
    eta = None
    if row.state == "running" and row.done:
        spent = (now_ms() - row.started_ms) / 1000
        eta = round(spent / row.done * max(0, row.total - row.done), 1)
    request = json.loads(row.request)
    return {
        "id": row.id,
        "kind": row.kind,
        "state": "cancelling" if row.cancel and row.state == "running" else row.state,
        "model": request["model"]["name"],
        "batch": request["batch"],
        "phase": row.phase,
        "done": row.done,
        "total": row.total,
        "eta_seconds": eta,
        "attempts": row.attempts,
        "error": None if row.error is None else row.error.decode(),
        "profile_id": row.profile_id,
        "created_at": timestamp(row.created_ms),
        "started_at": timestamp(row.started_ms),
        "finished_at": timestamp(row.finished_ms),
    }
