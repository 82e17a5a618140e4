"""A database of an earlier release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from api.store import content, device_rows, migrate
from api.store.database import Database
from api.store.tables import profiles
from planner.schema.common import Dtype

DTYPES = get_args(Dtype)


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
        summary = json.dumps({"model": {"name": "cnn6"}, "batch": 8}).encode()
        row = {"id": "two", "model_id": "m", "fingerprint": "f", "optimizer": "sgd", "state_copies": 1, "batch": 8}
        row |= {"summary": summary, "body": b"{}", "created_ms": 1}
        connection.execute(text(f"INSERT INTO profiles ({', '.join(row)}) VALUES (:{', :'.join(row)})"), row)
    engine.dispose()
    migrate.migrate(url)
    database = Database(url)
    try:
        (device,) = device_rows.page(database, None, 10).items
        assert (device["name"], device["last_seen_at"]) == ("bench", None)
        device_rows.set_seen(database, "one")
        assert device_rows.page(database, None, 10).items[0]["last_seen_at"] is not None
        (profile,) = content.page(database, profiles, None, 10).items
        assert (profile["model"], profile["batch"], profile["dtype"]) == ({"name": "cnn6"}, 8, "float32")
        found = [content.find_profile(database, content.ProfileKey("one", "m", "sgd", 1, dtype, 8)) for dtype in DTYPES]
        assert found == ["two", None]
        patterns = [content.measured_pattern(kind) for kind in (None, "pooled-conv", "mlp")]
        keys = [content.ProfileKey("one", "m", "sgd", 1, "float32", 8, pattern) for pattern in patterns]
        assert [content.find_profile(database, key) for key in keys] == ["two", "two", None]
    finally:
        database.close()
