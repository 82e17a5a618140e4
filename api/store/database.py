"""The connection to the database: SQLite by default, PostgreSQL by URL, both through SQLAlchemy's core."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url

from api.limits import STORE_THREADS
from planner.errors import InputError

_BUSY_SECONDS = 20
_POOL: dict[str, Any] = {"pool_size": STORE_THREADS + 2, "max_overflow": 4}
"""A connection for each thread, and for the writer of samples."""

_CACHE_KIB = 1024
"""SQLite's page cache of each connection; the kernel caches the file anyway."""


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Database:
    """Reads and writes. A write is on storage when its `with` block has ended."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        # SQLite has one writer at a time. Within a process the wait for it is a lock, which is fair and wakes at once.
        self._alone: Any = threading.Lock() if self.is_sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, durable at its end; an exception in the block undoes it."""
        with self._alone, self.engine.connect() as connection:
            connection.execution_options(neuroflux_write=True)
            with connection.begin():
                yield connection

    def insert(self, table: Any) -> Any:
        """An INSERT that can say `on_conflict_do_nothing`."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def insert_new(self, connection: Connection, table: Any, key: str, values: Mapping[str, Any]) -> bool:
        """Insert a row unless its `key` is there; tell whether it is new.

        By what comes back: an INSERT's count of rows is not kept on PostgreSQL.
        """
        statement = self.insert(table).values(**values).on_conflict_do_nothing(index_elements=[key])
        return connection.execute(statement.returning(table.c[key])).first() is not None

    def close(self) -> None:
        """End all connections."""
        self.engine.dispose()


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_SECONDS}, **_POOL)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where `begun` says so
        # FULL: a commit is on storage before it is acknowledged, also in WAL mode.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"cache_size=-{_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # A transaction that reads first and writes later could not be repeated; a writer takes its turn at once.
        is_write = connection.get_execution_options().get("neuroflux_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


def _postgres_engine(url: str) -> Engine:
    try:
        return create_engine(url, hide_parameters=True, pool_pre_ping=True, **_POOL)
    except ModuleNotFoundError:
        raise InputError(
            "--db: PostgreSQL needs the extra `postgres`: pip install 'neuroflux-planner[postgres]'"
        ) from None


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    return make_url(url).render_as_string(hide_password=True)
