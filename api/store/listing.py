"""Lists that are filtered and sorted, page by page: by what their rows are sorted, and where the next page begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, LargeBinary, and_, func, or_, select

Value = int | float | str | None


@dataclass(frozen=True)
class Position:
    """Where a page ends."""

    value: Value
    """What the last row is sorted by; none: it has nothing, and so do all behind it."""
    number: int
    """Its number."""


@dataclass(frozen=True)
class Order:
    """How rows are sorted. Equal ones are newest first, and those without a value last."""

    key: ColumnElement[Any]
    """What they are sorted by."""
    is_down: bool
    """Whether the highest come first."""


@dataclass(frozen=True)
class Stretch:
    """Which rows a page has."""

    numbers: tuple[int, ...]
    """Their numbers, in order."""
    end: Position | None
    """Behind which the next page begins; none: this was the last one."""


def stretch(
    connection: Connection,
    number: ColumnElement[int],
    order: Order,
    behind: Position | None,
    limit: int,
    conditions: Sequence[ColumnElement[bool]],
) -> Stretch:
    """The rows of one page."""
    statement = select(number, order.key.label("value")).where(*conditions)
    if behind is not None:
        statement = statement.where(_is_behind(number, order, behind))
    sort = order.key.desc() if order.is_down else order.key.asc()
    rows = connection.execute(statement.order_by(sort.nulls_last(), number.desc()).limit(limit + 1)).all()
    kept = rows[:limit]
    end = Position(_plain(kept[-1].value), kept[-1][0]) if len(rows) > limit else None
    return Stretch(tuple(row[0] for row in kept), end)


def _plain(value: Any) -> Value:
    """Names are kept as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _is_behind(number: ColumnElement[int], order: Order, behind: Position) -> ColumnElement[bool]:
    if behind.value is None:
        return and_(order.key.is_(None), number < behind.number)
    is_text = isinstance(order.key.type, LargeBinary)
    value = str(behind.value).encode() if is_text else behind.value
    is_further = order.key < value if order.is_down else order.key > value
    return or_(is_further, and_(order.key == value, number < behind.number), order.key.is_(None))


def count(connection: Connection, number: ColumnElement[int], conditions: Sequence[ColumnElement[bool]]) -> int:
    """How many rows there are on all pages."""
    return int(connection.execute(select(func.count(number)).where(*conditions)).scalar_one())


def has_words(column: ColumnElement[str], words: Sequence[str]) -> list[ColumnElement[bool]]:
    """Rows whose text has every one of these words, in any place."""
    return [column.contains(word, autoescape=True) for word in words]


@dataclass(frozen=True)
class Range:
    """Numbers between two, both included; none: not limited there."""

    low: float | None
    """The lowest."""
    high: float | None
    """The highest."""

    def holds(self, key: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        """Rows within it."""
        return [
            *([] if self.low is None else [key >= self.low]),
            *([] if self.high is None else [key <= self.high]),
        ]
