"""Who changed what, when: a row for each change that somebody asked for, written before they are answered."""

from __future__ import annotations

import getpass
from typing import Any

from sqlalchemy import ColumnElement, delete, select

from api.limits import AUDIT_SECONDS
from api.store.content import Page, page_of, timestamp
from api.store.database import Database, now_ms
from api.store.tables import audit, devices
from api.store.tokens import LOCAL_ID, Principal

_LONGEST = 300


def add(database: Database, principal: Principal, action: str, what: str, status: int, client: str) -> None:
    """Write down what was asked for over HTTP, and how it ended."""
    with database.write() as connection:
        actor = principal.name
        if principal.device_id is not None:
            named = select(devices.c.name).where(devices.c.id == principal.device_id)
            actor = (connection.execute(named).scalar() or b"").decode()
        row = _row(actor, principal.kind, principal.token_id, action, what, status)
        connection.execute(audit.insert().values(**row, client=client[:64]))


def add_local(database: Database, action: str, what: str) -> None:
    """Write down what was done by the command line on the machine of the database."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"  # whose user has no name here
    with database.write() as connection:
        row = _row(user, "command", LOCAL_ID, action, what, 0)
        connection.execute(audit.insert().values(**row, client=""))


def _row(actor: str, kind: str, token_id: str, action: str, what: str, status: int) -> dict[str, Any]:
    return {
        "at_ms": now_ms(),
        "actor": actor[:_LONGEST].encode(),
        "kind": kind,
        "token_id": token_id,
        "action": action[:64],
        "object": what[:_LONGEST].encode(errors="backslashreplace"),
        "status": status,
    }


def page(database: Database, before: int | None, limit: int, conditions: tuple[ColumnElement[bool], ...] = ()) -> Page:
    """Changes, newest first."""
    statement = select(audit).where(*conditions)
    return page_of(database, statement, audit.c.number, before, limit, lambda connection, row: _item(row))


def _item(row: Any) -> dict[str, Any]:
    return {
        "at": timestamp(row.at_ms),
        "actor": row.actor.decode(),
        "kind": row.kind,
        "token_id": row.token_id,
        "action": row.action,
        "object": row.object.decode(),
        "status": row.status,
        "client": row.client,
    }


def forget_old(database: Database) -> None:
    """Drop what is older than is kept."""
    with database.write() as connection:
        connection.execute(delete(audit).where(audit.c.at_ms < now_ms() - AUDIT_SECONDS * 1000))
