"""Plans as a table: searched, filtered, sorted, page by page. The index `ix_plans_listed` holds all that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, select

from api.schemas.plan_responses import PlanNames
from api.store import document_lists, marks
from api.store.content import Page
from api.store.database import Database
from api.store.listing import Order, Position, Range, count, has_words, stretch
from api.store.tables import plans

PlanSort = Literal[
    "created_at", "model", "device", "strategy", "budget", "peak_bytes", "seconds", "blocks", "cuts",
    "-created_at", "-model", "-device", "-strategy", "-budget", "-peak_bytes", "-seconds", "-blocks", "-cuts",
]  # fmt: skip
"""By what plans are sorted; with a minus the highest come first."""

_KEYS: Mapping[str, ColumnElement[Any]] = {
    "created_at": plans.c.number,
    "model": plans.c.model,
    "device": plans.c.device,
    "strategy": plans.c.strategy,
    "budget": plans.c.budget_bytes,
    "peak_bytes": plans.c.peak_bytes,
    "seconds": plans.c.seconds,
    "blocks": plans.c.blocks,
    "cuts": plans.c.cuts,
}


@dataclass(frozen=True)
class PlanFilter:
    """Which plans."""

    search: tuple[str, ...] = ()
    """Words that are all in the model's name, the strategy's or the device's, in lower case."""
    equal: Mapping[str, str] = field(default_factory=dict)
    """What `model`, `device` and `strategy` are called."""
    ranges: Mapping[str, Range] = field(default_factory=dict)
    """Between which bounds `budget`, `peak_bytes` and `seconds` lie."""
    archived: bool = False
    """Those that are archived, in place of the others."""
    label: str | None = None
    """One that they have."""


def listed(
    database: Database, wanted: PlanFilter, sort: PlanSort, behind: Position | None, limit: int, is_counted: bool
) -> Page:
    """A page of plans."""
    order = Order(_KEYS[sort.removeprefix("-")], sort.startswith("-"))
    conditions = [
        *(_KEYS[name] == value for name, value in wanted.equal.items()),
        *(held for name, bounds in wanted.ranges.items() for held in bounds.holds(_KEYS[name])),
        *has_words(plans.c.words, wanted.search),
        *marks.are_shown(plans, wanted.archived, wanted.label),
    ]
    with database.read() as connection:
        found = stretch(connection, plans.c.number, order, behind, limit, conditions)
        total = count(connection, plans.c.number, conditions) if is_counted else None
        return Page(document_lists.items(connection, plans, found.numbers), None, found.end, total)


def names(database: Database) -> PlanNames:
    """What all plans may be filtered by."""
    with database.read() as connection:
        found = (
            tuple(sorted(connection.execute(select(column).distinct()).scalars()))
            for column in (plans.c.model, plans.c.device, plans.c.strategy)
        )
        return PlanNames(*found)
