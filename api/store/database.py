"""The connection to the database: SQLite by default, PostgreSQL by URL, both through SQLAlchemy's core."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url

from api.limits import STORE_THREADS, WRITE_SECONDS
from api.problems import overloaded
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
    """Reads and writes. A write is on storage when its `with` block has ended.

    Where somebody else keeps SQLite locked, one write waits for it, and others do not begin unless they are patient:
    each would keep a thread that reads could have.
    """

    def __init__(self, url: str, is_patient: bool = True) -> None:
        self.url = url
        self._is_patient = is_patient
        self._writing_since: float | None = None
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        # SQLite has one writer at a time. Within a process the wait for it is a lock, which is fair and wakes at once.
        self._alone = threading.Lock()
        self.file = Path(make_url(url).database or "") if self.is_sqlite else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, is_patient: bool = False) -> Iterator[Connection]:
        """One transaction, durable at its end; an exception in the block undoes it.

        Raises Problem (503) where another one lasts so long that the database must be locked, unless `is_patient`.
        """
        with self._turn(is_patient or self._is_patient), self.engine.connect() as connection:
            connection.execution_options(neuroflux_write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _turn(self, is_patient: bool) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        since = self._writing_since
        is_stuck = since is not None and time.monotonic() - since > WRITE_SECONDS
        patience = -1 if is_patient else 0 if is_stuck else WRITE_SECONDS
        if not self._alone.acquire(timeout=patience):
            raise overloaded("the database is locked by somebody else")
        try:
            self._writing_since = time.monotonic()
            yield
        finally:
            self._writing_since = None
            self._alone.release()

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
    """The URL as it may be shown: without what follows it too, which may hold a password as well."""
    return make_url(url).set(query={}).render_as_string(hide_password=True)
