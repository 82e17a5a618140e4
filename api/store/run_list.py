"""Runs as a table: searched, filtered, sorted, page by page. The index `ix_runs_listed` holds all that is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from api.limits import SILENCE_SECONDS
from api.schemas.responses import DeviceName, RunChoices, RunState
from api.store import marks, runs
from api.store.content import Page
from api.store.database import Database, now_ms
from api.store.listing import Order, Position, Range, count, has_words, stretch
from api.store.tables import devices, samples
from api.store.tables import runs as rows

RunSort = Literal[
    "created_at", "name", "state", "model", "device", "budget", "peak_bytes", "accuracy", "seconds",
    "-created_at", "-name", "-state", "-model", "-device", "-budget", "-peak_bytes", "-accuracy", "-seconds",
]  # fmt: skip
"""By what runs are sorted; with a minus the highest come first."""


@dataclass(frozen=True)
class RunFilter:
    """Which runs."""

    search: tuple[str, ...] = ()
    """Words that are all in the run's name, its model's, its strategy's or its device's, in lower case."""
    state: RunState | None = None
    """How far they are."""
    model: str | None = None
    """Their model's name."""
    device_id: str | None = None
    """Who reports them."""
    plan_id: str | None = None
    """What they execute."""
    is_newest: bool = False
    """Whether only the newest of each device."""
    ranges: Mapping[str, Range] = field(default_factory=dict)
    """Between which bounds `budget`, `peak_bytes`, `accuracy` and `seconds` lie."""
    archived: bool = False
    """Those that are archived, in place of the others."""
    label: str | None = None
    """One that they have."""


def _keys() -> dict[str, ColumnElement[Any]]:
    """What runs are sorted by."""
    of_run = samples.c.run == rows.c.number
    highest = select(func.max(samples.c.peak_bytes)).where(of_run).scalar_subquery()
    newest = select(samples.c.seconds).where(of_run).order_by(samples.c.sequence.desc()).limit(1).scalar_subquery()
    return {
        "created_at": rows.c.number,
        "name": rows.c.words,
        "state": _state(),
        "model": rows.c.model,
        "device": select(devices.c.name).where(devices.c.id == rows.c.device_id).scalar_subquery(),
        "budget": rows.c.budget_bytes,
        "peak_bytes": func.coalesce(rows.c.peak_bytes, highest),
        "accuracy": rows.c.accuracy,
        "seconds": func.coalesce(rows.c.seconds, newest),
    }


def _state() -> ColumnElement[str]:
    """As `runs.state_of` tells it."""
    is_silent = and_(rows.c.state.in_(runs.OPEN), rows.c.heard_ms < now_ms() - round(1000 * SILENCE_SECONDS))
    return case((is_silent, "lost"), else_=rows.c.state)


def listed(
    database: Database, wanted: RunFilter, sort: RunSort, behind: Position | None, limit: int, is_counted: bool
) -> Page:
    """A page of runs."""
    keys = _keys()
    order = Order(keys[sort.removeprefix("-")], sort.startswith("-"))
    with database.read() as connection:
        conditions = _conditions(connection, wanted, keys)
        found = stretch(connection, rows.c.number, order, behind, limit, conditions)
        total = count(connection, rows.c.number, conditions) if is_counted else None
        return Page(runs.items(connection, found.numbers), None, found.end, total)


def _conditions(
    connection: Connection, wanted: RunFilter, keys: Mapping[str, ColumnElement[Any]]
) -> Sequence[ColumnElement[bool]]:
    equal = ((rows.c.model, wanted.model), (rows.c.device_id, wanted.device_id), (rows.c.plan_id, wanted.plan_id))
    found = [column == value for column, value in equal if value is not None]
    if wanted.state is not None:
        found.append(_state() == wanted.state)
    if wanted.is_newest:
        found.append(runs.is_newest())
    for name, bounds in wanted.ranges.items():
        found += bounds.holds(keys[name])
    found += marks.are_shown(rows, wanted.archived, wanted.label)
    return [*found, *(_has_word(connection, word) for word in wanted.search)]


def _has_word(connection: Connection, word: str) -> ColumnElement[bool]:
    """In a run's own words, or in its device's name, which may change."""
    (own,) = has_words(rows.c.words, (word,))
    named = connection.execute(select(devices.c.id, devices.c.name)).all()
    ids = [row.id for row in named if word in row.name.decode().casefold()]
    return or_(own, rows.c.device_id.in_(ids)) if ids else own


def choices(database: Database) -> RunChoices:
    """What all runs may be filtered by."""
    with database.read() as connection:
        models = connection.execute(select(rows.c.model).distinct()).scalars()
        used = select(rows.c.device_id).where(rows.c.device_id.is_not(None)).distinct()
        named = connection.execute(select(devices.c.id, devices.c.name).where(devices.c.id.in_(used))).all()
        return RunChoices(
            tuple(sorted(models)),
            tuple(sorted((DeviceName(row.id, row.name.decode()) for row in named), key=lambda one: (one.name, one.id))),
        )
