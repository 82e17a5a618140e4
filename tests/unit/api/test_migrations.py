"""A database of an earlier release."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import get_args

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from api.settings import database_url
from api.store import device_rows, migrate, profile_rows, runs
from api.store.database import Database, without_password
from planner.errors import InputError, PlannerError
from planner.schema.common import Dtype

DTYPES = get_args(Dtype)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    return config


def test_a_database_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    file = tmp_path / "service.sqlite3"
    migrate.migrate(f"sqlite:///{file}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    migrate.migrate(f"sqlite:///{file}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_what_is_in_a_databases_way_is_said(tmp_path: Path) -> None:
    file = tmp_path / "service.sqlite3"
    url = f"sqlite:///{file}"
    with pytest.raises(InputError, match="cannot be written"):
        migrate.migrate("sqlite:////proc/service.sqlite3")
    victim = tmp_path / "victim"
    lock = tmp_path / "service.sqlite3.migrating"
    lock.symlink_to(victim)
    with pytest.raises(PlannerError, match="migrating"):
        migrate.migrate(url)
    assert not victim.exists()
    lock.unlink()
    migrate.migrate(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(InputError, match=r"newer release.*9999"):
        migrate.migrate(url)


@pytest.mark.parametrize("password", ["p@ss", "p/ss", "p#ss", "p?ss"])
def test_no_part_of_a_password_is_shown(password: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="%40") as caught:
        database_url(f"postgresql://me:{password}@host/db", tmp_path)
    assert "ss" not in str(caught.value).replace("password", "")
    kept = database_url("postgresql://me:p%40ss@host/db?password=p%40ss", tmp_path)
    assert without_password(kept) == "postgresql+psycopg://me:***@host/db"


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
        plan = {"model": "cnn6", "budget": {"bytes": 5, "scope": "process"}, "blocks": 1}
        row = {"id": "p", "blocks": 1, "summary": json.dumps(plan).encode(), "body": b"{}", "created_ms": 1}
        connection.execute(text(f"INSERT INTO plans ({', '.join(row)}) VALUES (:{', :'.join(row)})"), row)
        for name, ended in (("kept", 5), ("broke", 9), ("goes on", None)):
            report = None if ended is None else json.dumps({"within_budget": ended <= 5, "peak_bytes": ended}).encode()
            row = {"id": name, "plan_id": "p", "name": name.encode(), "report": report, "created_ms": 1}
            row |= {"report_id": name if ended else None, "finished_ms": ended}
            connection.execute(text(f"INSERT INTO runs ({', '.join(row)}) VALUES (:{', :'.join(row)})"), row)
    engine.dispose()
    migrate.migrate(url)
    database = Database(url)
    try:
        (device,) = device_rows.page(database, None, 10).items
        assert (device["name"], device["last_seen_at"]) == ("bench", None)
        device_rows.set_seen(database, "one")
        assert device_rows.page(database, None, 10).items[0]["last_seen_at"] is not None
        (profile,) = profile_rows.page(database, None, 10).items
        assert (profile["model"], profile["batch"], profile["dtype"]) == ({"name": "cnn6"}, 8, "float32")
        found = [
            profile_rows.find(database, profile_rows.ProfileKey("one", "m", "sgd", 1, dtype, 8)) for dtype in DTYPES
        ]
        assert found == ["two", None]
        patterns = [profile_rows.measured_pattern(kind) for kind in (None, "auto", "pooled-conv", "mlp")]
        keys = [profile_rows.ProfileKey("one", "m", "sgd", 1, "float32", 8, pattern) for pattern in patterns]
        assert [profile_rows.find(database, key) for key in keys] == ["two", "two", "two", None]
        found_runs = runs.page(database, None, 10, ()).items
        assert [(run["id"], run["state"], run["peak_bytes"]) for run in found_runs] == [
            ("goes on", "running", None),
            ("broke", "over-budget", 9),
            ("kept", "finished", 5),
        ]
    finally:
        database.close()
