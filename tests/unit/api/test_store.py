"""The store: both databases have the tables that the code knows, and an error tells no values."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.store.database import Database
from api.store.tables import metadata


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


def test_a_commit_is_flushed_before_it_returns(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    database.close()
