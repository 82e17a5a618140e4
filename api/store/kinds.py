"""One list for every kind of thing that people name, label, archive and delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from api.store import device_rows, document_lists, profile_rows, runs
from api.store.content import Page
from api.store.database import Database
from api.store.marks import MARKED
from api.store.tables import models, plans, tokens

_Pages = Callable[[Database, int | None, int, tuple[Any, ...]], Page]

_PAGES: dict[str, _Pages] = {
    "models": lambda database, *rest: document_lists.page(database, models, *rest),
    "plans": lambda database, *rest: document_lists.page(database, plans, *rest),
    "profiles": profile_rows.page,
    "devices": device_rows.page,
    "runs": runs.page,
}


def page(database: Database, kind: str, before: int | None, limit: int, conditions: tuple[Any, ...]) -> Page:
    """Things of a kind in short, newest first."""
    return _PAGES[kind](database, before, limit, conditions)


def one(database: Database, kind: str, identity: str) -> dict[str, Any] | None:
    """A thing as its list shows it."""
    found = page(database, kind, None, 1, (MARKED[kind].c.id == identity,)).items
    return found[0] if found else None


def ids_beginning(database: Database, kind: str, beginning: str) -> list[str]:
    """The ids that begin so, two at most; one that is equal is the only one."""
    table = tokens if kind == "tokens" else MARKED[kind]
    with database.read() as connection:
        if connection.execute(select(table.c.id).where(table.c.id == beginning)).first() is not None:
            return [beginning]
        alike = table.c.id.startswith(beginning, autoescape=True)
        return list(connection.execute(select(table.c.id).where(alike).limit(2)).scalars())
