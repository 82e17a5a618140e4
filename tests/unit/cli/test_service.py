"""`neuroflux service`: administration on the machine of the database."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from planner.cli.main import main
from tests.unit.api.service import ADMIN, MACHINE, bearer, sample, service, with_run


@pytest.fixture
def served(sqlite_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """A service that runs, its admin signed in."""
    with service(sqlite_url, tmp_path, authentication=True) as client:
        client.headers.update(bearer(ADMIN))
        yield client


@pytest.fixture
def command(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `neuroflux service` on the test's database; what it prints, after an exit code of 0 or the one wanted."""

    def run(*words: str | Path, code: int = 0) -> str:
        capsys.readouterr()
        found = main(["service", *map(str, words), "--db", sqlite_url])
        printed = capsys.readouterr()
        assert found == code, printed.err
        return printed.err if code else printed.out

    return run


def test_a_copy_is_made_while_the_service_writes_and_put_back_when_it_is_stopped(
    sqlite_url: str, tmp_path: Path, command: Callable[..., str]
) -> None:
    copy = tmp_path / "copy.sqlite3"
    with service(sqlite_url, tmp_path, authentication=True) as client:
        client.headers.update(bearer(ADMIN))
        run, _ = with_run(client)
        client.post(f"/v1/runs/{run}/samples", json={"samples": [sample(0), sample(1)]})
        assert str(copy) in command("backup", copy)
        assert "is there already" in command("backup", copy, code=2)
        client.delete(f"/v1/runs/{run}")
        assert "a service uses this database" in command("restore", copy, code=2)
        assert client.get(f"/v1/runs/{run}").status_code == 404
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    command("restore", copy)
    with service(sqlite_url, tmp_path, authentication=True) as client:
        assert client.get(f"/v1/runs/{run}/samples", headers=bearer(ADMIN)).json()["count"] == 2
    (kept,) = tmp_path.glob("service.sqlite3.before-*")
    with sqlite3.connect(kept) as there:
        assert there.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_what_is_no_copy_is_not_put_back(sqlite_url: str, tmp_path: Path, command: Callable[..., str]) -> None:
    text, other, cut, newer = (tmp_path / name for name in ("text", "other", "cut", "newer"))
    text.write_text("no database")
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (a)")
    command("backup", newer)
    whole = newer.read_bytes()
    cut.write_bytes(whole[:20_000] + bytes(4096) + whole[24_096:40_000])
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = Path(sqlite_url.removeprefix("sqlite:///")).read_bytes()
    for file, words in ((text, "no SQLite"), (other, "no database of a"), (cut, "damaged"), (newer, "newer release")):
        assert words in command("restore", file, code=2)
    assert Path(sqlite_url.removeprefix("sqlite:///")).read_bytes() == before
    assert main(["service", "backup", str(tmp_path / "x"), "--db", "postgresql://h/d"]) == 2


def test_tokens_are_added_listed_and_ended(served: TestClient, command: Callable[..., str]) -> None:
    token = command("token", "add", "grafana", "--role", "metrics", "--days", "1").strip()
    assert served.get("/metrics", headers=bearer(token)).status_code == 200
    listed = json.loads(command("token", "--json"))
    assert [(one["name"], one["role"]) for one in listed] == [("grafana", "metrics"), (None, "admin")]
    assert token not in command("token", "list")
    command("token", "end", listed[0]["id"][:12])
    assert served.get("/metrics", headers=bearer(token)).status_code == 401
    for wrong in (("token", "add"), ("token", "list", "x"), ("token", "add", " "), ("token", "end", "f" * 32)):
        assert "service token" in (said := command(*wrong, code=2)) or "there is none" in said
    actions = [one["action"] for one in json.loads(command("audit", "--json"))]
    assert actions == ["end_token", "create_token"]


def test_things_are_listed_renamed_archived_and_deleted(served: TestClient, command: Callable[..., str]) -> None:
    run, plan = with_run(served)
    enrolment = served.post("/v1/enrolments", json={}).json()["token"]
    body = {"name": "board", "machine": MACHINE, "threads": 4}
    device = served.post("/v1/devices", json=body, headers=bearer(enrolment)).json()
    assert run in command("runs") and "cnn6" in command("plans")
    command("rename", "devices", device["device"]["id"], "bench-3")
    assert "bench-3" in command("devices")
    command("archive", "runs", run[:10])
    assert (run in command("runs"), run in command("runs", "--archived")) == (False, True)
    command("unarchive", "runs", run)
    command("revoke", device["device"]["id"])
    assert served.get("/v1/runs", headers=bearer(device["token"])).status_code == 401
    assert "revoked already" in command("revoke", device["device"]["id"], code=2)
    assert "1 runs execute it" in command("delete", "plans", plan["id"], code=2)
    command("delete", "runs", run)
    command("delete", "plans", plan["id"])
    command("delete", "devices", device["device"]["id"])
    assert served.get("/v1/runs").json()["items"] == []
    assert "there is none" in command("delete", "runs", run, code=2)


def test_a_database_of_another_release_is_left_alone(tmp_path: Path, command: Callable[..., str]) -> None:
    assert main(["service", "runs", "--data-dir", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()
