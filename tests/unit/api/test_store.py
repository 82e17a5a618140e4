"""The store: both databases have the tables that the code knows, and an error tells no values."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.store.database import Database
from api.store.runs import RunKey
from api.store.tables import metadata
from api.store.writer import SampleWriter


def test_the_migrations_make_the_tables_that_the_code_knows(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
    database.close()


def test_an_error_of_the_database_tells_no_values(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(SQLAlchemyError) as caught, database.read() as connection:
        connection.execute(text("SELECT * FROM nowhere WHERE a = :a"), {"a": "nfx_secret"})
    assert "nfx_secret" not in str(caught.value)
    database.close()


def test_samples_are_written_though_somebody_waits_no_more(sqlite_url: str) -> None:
    """A request that is cancelled cancels what it waits for."""
    database = Database(sqlite_url)
    with database.write() as connection:
        names = "id, blocks, summary, body, created_ms"
        connection.execute(text(f"INSERT INTO plans ({names}) VALUES ('p', 1, '{{}}', '{{}}', 0)"))
        connection.execute(text("INSERT INTO runs (number, id, plan_id, name, created_ms) VALUES (1, 'r', 'p', '', 0)"))
    row = {"run": 1, "seconds": 0.0, "block": 0, "epoch": 0, "step": 0, "resident_bytes": 0, "peak_bytes": 0, "loss": 1}
    writer, run = SampleWriter(database), RunKey(1, "r", "p", None, 1)
    with database.write():  # SQLite has one writer, so everything waits for this
        first = writer.submit(run, [{**row, "sequence": 0}])
        given_up = writer.submit(run, [{**row, "sequence": 1}])
        assert given_up.cancel()
    first.result(60)
    with pytest.raises(SQLAlchemyError):
        writer.submit(run, [{**row, "sequence": None}]).result(60)
    writer.submit(run, [{**row, "sequence": 2}]).result(60)
    writer.close()
    database.close()


def test_a_commit_is_flushed_before_it_returns(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    database.close()
