"""Documents kept under the hash of their content: models, profiles, plans. They never change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, select

from api.store.database import Database, now_ms
from api.store.listing import Position
from api.store.tables import plan_requests, plans
from api.store.words import listed_plan
from planner.schema.codec import to_json


@dataclass(frozen=True)
class Page:
    """A stretch of a list, newest first."""

    items: tuple[dict[str, Any], ...]
    """Summaries."""
    next_number: int | None
    """Where the next stretch begins; none: this was the last one, or the list is sorted."""
    end: Position | None = None
    """Behind which the next stretch of a sorted list begins; none: this was the last one."""
    total: int | None = None
    """How many items there are in all; none: nobody asked."""


_ID = re.compile(r"[0-9a-f]{64}")


def is_id(text: str) -> bool:
    """Whether a text may be the id of a document."""
    return _ID.fullmatch(text) is not None


def to_bytes(document: Any) -> bytes:
    """A document as it is kept and sent."""
    return to_json(document, indent=None).encode()


def encoded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "summary": row["summary"].encode(), "body": row["body"].encode()}


def put(database: Database, table: Table, row: Mapping[str, Any]) -> bool:
    """Keep a row unless its id is there already; tell whether it is new."""
    with database.read() as connection:
        if connection.execute(select(table.c.id).where(table.c.id == row["id"])).first():
            return False
    with database.write() as connection:
        return database.insert_new(connection, table, "id", {**encoded(row), "created_ms": now_ms()})


def body(database: Database, table: Table, identity: str) -> bytes | None:
    """The document of an id."""
    with database.read() as connection:
        found = connection.execute(select(table.c.body).where(table.c.id == identity)).scalar()
    return None if found is None else bytes(found)


def exists(database: Database, table: Table, identity: str) -> bool:
    """Whether there is a document with this id."""
    with database.read() as connection:
        return connection.execute(select(table.c.id).where(table.c.id == identity)).first() is not None


def page_of(
    database: Database,
    statement: Select[Any],
    number: ColumnElement[int],
    before: int | None,
    limit: int,
    item: Callable[[Connection, Any], dict[str, Any]],
) -> Page:
    """The rows of a statement as `item` shows them, those with the highest `number` first, all below `before`."""
    if before is not None:
        statement = statement.where(number < before)
    with database.read() as connection:
        rows = connection.execute(statement.order_by(number.desc()).limit(limit + 1)).all()
        items = tuple(item(connection, row) for row in rows[:limit])
    return Page(items, rows[limit - 1].number if len(rows) > limit else None)


def timestamp(milliseconds: int | None) -> str | None:
    """`2026-01-31T12:00:00.000Z`."""
    if milliseconds is None:
        return None
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def put_plan(database: Database, key: str, row: Mapping[str, Any]) -> bool:
    """Keep a plan and the request it answers, in one transaction; tell whether the plan is new."""
    values = {**encoded(row), **listed_plan(json.loads(row["summary"])), "created_ms": now_ms()}
    with database.write() as connection:
        is_new = database.insert_new(connection, plans, "id", values)
        database.insert_new(connection, plan_requests, "key", {"key": key, "plan_id": row["id"]})
    return is_new


def plan_for(database: Database, key: str) -> str | None:
    """The id of the plan that answered an equal request."""
    with database.read() as connection:
        return connection.execute(select(plan_requests.c.plan_id).where(plan_requests.c.key == key)).scalar()
