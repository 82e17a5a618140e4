"""What people write on things: labels, notes, and that one is archived, which keeps it out of lists.

Labels are kept as lines, with one before the first and behind the last, so that one of them is found as a line.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select, update

from api.store.content import timestamp
from api.store.database import Database, now_ms
from api.store.tables import devices, models, plans, profiles, runs
from api.store.words import listed_run

MARKED: dict[str, Table] = {"models": models, "profiles": profiles, "plans": plans, "devices": devices, "runs": runs}
"""Tables of what can be marked, by the word in its address."""


def columns(table: Table) -> tuple[Any, ...]:
    """What `marks_of` reads."""
    return table.c.labels, table.c.notes, table.c.archived_ms


def marks_of(row: Any) -> dict[str, Any]:
    """As they are shown."""
    return {
        "labels": row.labels.split(),
        "notes": "" if row.notes is None else row.notes.decode(),
        "archived_at": timestamp(row.archived_ms),
    }


def are_shown(table: Table, archived: bool, label: str | None) -> tuple[ColumnElement[bool], ...]:
    """Conditions: those that are archived, or the others; and those with a label, however it is spelt."""
    chosen = table.c.archived_ms.is_not(None) if archived else table.c.archived_ms.is_(None)
    if label is None:
        return (chosen,)
    return (chosen, func.lower(table.c.labels).contains(f"\n{label.lower()}\n", autoescape=True))


def set_marks(
    database: Database,
    kind: str,
    identity: str,
    *,
    name: str | None = None,
    labels: tuple[str, ...] | None = None,
    notes: str | None = None,
    archived: bool | None = None,
) -> bool:
    """Write what is not None; False where there is no such thing. What is archived already keeps its date."""
    table = MARKED[kind]
    values: dict[str, Any] = {}
    if name is not None:
        values["name"] = name.encode()
    if labels is not None:
        values["labels"] = "".join(f"\n{label}" for label in labels) + "\n" if labels else ""
    if notes is not None:
        values["notes"] = notes.encode() or None
    if archived is not None:
        values["archived_ms"] = func.coalesce(table.c.archived_ms, now_ms()) if archived else None
    with database.write() as connection:
        if name is not None and table is runs:
            plan = select(plans.c.summary).join(runs, runs.c.plan_id == plans.c.id).where(runs.c.id == identity)
            summary = connection.execute(plan).scalar()
            values |= {} if summary is None else listed_run(name, json.loads(summary))
        # Where nothing is to be written, `number` says whether it is there.
        changed = update(table).where(table.c.id == identity).values(**values or {"number": table.c.number})
        return bool(connection.execute(changed).rowcount)
