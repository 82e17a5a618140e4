"""Samples of runs that have ended long ago: thinned to what a chart shows, then dropped."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from api.limits import SILENCE_SECONDS, THINNED_POINTS
from api.store.database import Database, now_ms
from api.store.removal import remove_samples
from api.store.runs import OPEN
from api.store.tables import runs, samples

_ROWS_AT_ONCE = 20_000


def oldest(database: Database, older_than_seconds: float, to_be: str) -> int | None:
    """The number of the run that has been silent for longest, and at least so long, whose samples are not `to_be`
    (`thinned` or `dropped`) yet."""
    heard_ms = now_ms() - round(1000 * max(older_than_seconds, 0))
    pending: ColumnElement[bool] = runs.c.thinned.is_(None)
    if to_be == "dropped":
        pending = or_(pending, runs.c.thinned != "dropped")
    is_over = or_(runs.c.state.not_in(OPEN), runs.c.heard_ms < now_ms() - round(1000 * SILENCE_SECONDS))
    chosen = select(runs.c.number).where(runs.c.heard_ms <= heard_ms, pending, is_over)
    with database.read() as connection:
        return connection.execute(chosen.order_by(runs.c.heard_ms).limit(1)).scalar()


def thin(database: Database, run: int) -> None:
    """Keep of a run's samples the highest peak of every stretch, the last of each block, and the very last."""
    ends = select(func.count(), func.min(samples.c.sequence), func.max(samples.c.sequence))
    with database.read() as connection:
        count, first, last = connection.execute(ends.where(samples.c.run == run)).one()
    if count > THINNED_POINTS:
        width = math.ceil((last - first + 1) / THINNED_POINTS)
        for start in range(first, last + 1, width * math.ceil(_ROWS_AT_ONCE / width)):
            _thin_part(database, run, start, min(start + width * math.ceil(_ROWS_AT_ONCE / width), last + 1), width)
    _mark(database, run, "thinned")


def _thin_part(database: Database, run: int, start: int, end: int, width: int) -> None:
    part = and_(samples.c.run == run, samples.c.sequence >= start, samples.c.sequence < end)
    columns = select(samples.c.sequence, samples.c.block, samples.c.peak_bytes).where(part).order_by(samples.c.sequence)
    with database.write(is_patient=True) as connection:
        rows = connection.execute(columns).all()
        kept = list(_kept([(row.sequence, row.block, row.peak_bytes) for row in rows], start, width))
        connection.execute(delete(samples).where(part, samples.c.sequence.not_in(kept)))


def _kept(rows: list[tuple[int, int, int]], start: int, width: int) -> Iterator[int]:
    """Of each stretch and block: the sequence number of the highest peak, and of the last."""
    highest: dict[tuple[int, int], tuple[int, int]] = {}
    last: dict[int, int] = {}
    for sequence, block, peak in rows:
        key = (sequence - start) // width, block
        highest[key] = max(highest.get(key, (peak, sequence)), (peak, sequence))
        last[block] = sequence
    yield from {sequence for _, sequence in highest.values()} | set(last.values())


def drop(database: Database, run: int) -> None:
    """Delete a run's samples. What a list says of it stays: its peak."""
    with database.write(is_patient=True) as connection:
        peak = select(func.max(samples.c.peak_bytes)).where(samples.c.run == run).scalar_subquery()
        values = {"peak_bytes": func.coalesce(runs.c.peak_bytes, peak)}
        connection.execute(update(runs).where(runs.c.number == run).values(**values))
    remove_samples(database, run)
    _mark(database, run, "dropped")


def _mark(database: Database, run: int, how: str) -> None:
    with database.write(is_patient=True) as connection:
        connection.execute(update(runs).where(runs.c.number == run).values(thinned=how))


def used_bytes(database: Database) -> int:
    """What the database takes: of SQLite the pages that hold something, for others are used again."""
    with database.read() as connection:
        if not database.is_sqlite:
            return int(connection.execute(select(func.pg_database_size(func.current_database()))).scalar_one())
        pages, free, size = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size
