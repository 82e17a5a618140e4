"""A database of an earlier release."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from api.store import device_rows, migrate
from api.store.database import Database


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    return config


def test_the_service_knows_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(_config()).get_current_head() == migrate.HEAD


def test_an_earlier_database_is_brought_up_to_date_and_keeps_what_it_has(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        row = {"id": "one", "kind": "device", "name": b"bench", "fingerprint": "f", "machine": b"{}", "created_ms": 1}
        names = ", ".join(row)
        connection.execute(text(f"INSERT INTO devices ({names}) VALUES (:{', :'.join(row)})"), row)
    engine.dispose()
    migrate.migrate(url)
    database = Database(url)
    try:
        (device,) = device_rows.page(database, None, 10).items
        assert (device["name"], device["last_seen_at"]) == ("bench", None)
        device_rows.set_seen(database, "one")
        assert device_rows.page(database, None, 10).items[0]["last_seen_at"] is not None
    finally:
        database.close()
