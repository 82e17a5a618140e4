"""Documents kept under the hash of their content: models, profiles, plans. They never change and never go."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, select

from api.store.database import Database, now_ms
from api.store.tables import devices, plan_requests, plans, profiles
from planner.heads.base import HeadKind
from planner.schema.codec import to_json


@dataclass(frozen=True)
class Page:
    """A stretch of a list, newest first."""

    items: tuple[dict[str, Any], ...]
    """Summaries."""
    next_number: int | None
    """Where the next stretch begins; none: this was the last one."""


def to_bytes(document: Any) -> bytes:
    """A document as it is kept and sent."""
    return to_json(document, indent=None).encode()


def _encoded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "summary": row["summary"].encode(), "body": row["body"].encode()}


def put(database: Database, table: Table, row: Mapping[str, Any]) -> bool:
    """Keep a row unless its id is there already; tell whether it is new."""
    with database.read() as connection:
        if connection.execute(select(table.c.id).where(table.c.id == row["id"])).first():
            return False
    with database.write() as connection:
        return database.insert_new(connection, table, "id", {**_encoded(row), "created_ms": now_ms()})


def body(database: Database, table: Table, identity: str) -> bytes | None:
    """The document of an id."""
    with database.read() as connection:
        found = connection.execute(select(table.c.body).where(table.c.id == identity)).scalar()
    return None if found is None else bytes(found)


def page(database: Database, table: Table, before: int | None, limit: int, conditions: tuple[Any, ...] = ()) -> Page:
    """Summaries, newest first, from the one before number `before` on."""
    statement = select(table.c.number, table.c.id, table.c.summary, table.c.created_ms).where(*conditions)
    return page_of(database, statement, table.c.number, before, limit, _item)


def _item(connection: Connection, row: Any) -> dict[str, Any]:
    return {"id": row.id, **json.loads(row.summary), "created_at": timestamp(row.created_ms)}


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


@dataclass(frozen=True)
class ProfileKey:
    """What a profile is looked for by. Field names are the statement's parameters."""

    device_id: str
    """A device that is not revoked."""
    model_id: str
    """The model."""
    optimizer: str
    """The optimizer's kind."""
    state_copies: int
    """Copies of the parameters that it keeps."""
    dtype: str
    """What units compute in."""
    batch: int
    """The batch that is to be covered."""
    heads: str = "%"
    """A pattern of the kinds of head that it has to have measured (`measured_pattern`)."""


def measured_pattern(kind: HeadKind | None) -> str:
    """The pattern in `ProfileKey.heads` of profiles that measured a kind of head; none: of any."""
    return "%" if kind is None else f"% {kind} %"


_COVERING = (  # built once: building it takes longer than running it
    select(profiles.c.id)
    .join(devices, devices.c.fingerprint == profiles.c.fingerprint)
    .where(
        devices.c.id == bindparam("device_id"),
        devices.c.revoked_ms.is_(None),
        profiles.c.model_id == bindparam("model_id"),
        profiles.c.optimizer == bindparam("optimizer"),
        profiles.c.state_copies == bindparam("state_copies"),
        profiles.c.dtype == bindparam("dtype"),
        profiles.c.batch >= bindparam("batch"),
        profiles.c.heads.like(bindparam("heads")),
    )
    .order_by(profiles.c.batch, profiles.c.number.desc())
    .limit(1)
)


def find_profile(database: Database, subject: ProfileKey) -> str | None:
    """The id of the newest profile with the smallest batch that still covers the subject's."""
    with database.read() as connection:
        return connection.execute(_COVERING, vars(subject)).scalar()


def put_plan(database: Database, key: str, row: Mapping[str, Any]) -> bool:
    """Keep a plan and the request it answers, in one transaction; tell whether the plan is new."""
    values = {**_encoded(row), "created_ms": now_ms()}
    with database.write() as connection:
        is_new = database.insert_new(connection, plans, "id", values)
        database.insert_new(connection, plan_requests, "key", {"key": key, "plan_id": row["id"]})
    return is_new


def plan_for(database: Database, key: str) -> str | None:
    """The id of the plan that answered an equal request."""
    with database.read() as connection:
        return connection.execute(select(plan_requests.c.plan_id).where(plan_requests.c.key == key)).scalar()
