"""Lists of documents that never change, models and plans, with what people have written on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from api.store import marks
from api.store.content import Page, page_of, timestamp
from api.store.database import Database


def page(database: Database, table: Table, before: int | None, limit: int, conditions: tuple[Any, ...] = ()) -> Page:
    """Summaries, newest first, from the one before number `before` on."""
    columns = (table.c.number, table.c.id, table.c.summary, table.c.created_ms, *marks.columns(table))
    return page_of(database, select(*columns).where(*conditions), table.c.number, before, limit, _item)


def items(connection: Connection, table: Table, numbers: Sequence[int]) -> tuple[dict[str, Any], ...]:
    """The summaries of these numbers, in this order, within the caller's transaction."""
    columns = (table.c.number, table.c.id, table.c.summary, table.c.created_ms, *marks.columns(table))
    rows = connection.execute(select(*columns).where(table.c.number.in_(numbers))).all()
    found = {row.number: row for row in rows}
    return tuple(_item(connection, found[number]) for number in numbers)


def _item(connection: Connection, row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        **json.loads(row.summary),
        "created_at": timestamp(row.created_ms),
        **marks.marks_of(row),
    }
