"""What the service does by itself: samples are thinned and dropped, and a database stays below its quota."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from api.settings import ServiceSettings, database_url
from api.store import retention
from api.store.database import Database, now_ms
from api.store.tables import runs
from api.upkeep import Upkeep
from planner.errors import InputError
from tests.unit.api.service import sample, with_run

_DAY = 24 * 3600.0
_PEAKS = [(index * 7919) % 5003 for index in range(4000)]


def _run_of(client: TestClient, days_ago: float, plan: str | None = None) -> str:
    """A run with many samples that has failed so long ago."""
    run = with_run(client)[0] if plan is None else client.post("/v1/runs", json={"plan_id": plan}).json()["id"]
    for start in range(0, len(_PEAKS), 1000):
        batch = [sample(index, peak_bytes=_PEAKS[index]) for index in range(start, start + 1000)]
        assert client.post(f"/v1/runs/{run}/samples", json={"samples": batch}).status_code == 200
    client.put(f"/v1/runs/{run}/state", json={"state": "failed"})
    database: Any = client.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    with database.write() as connection:
        heard = now_ms() - round(days_ago * _DAY * 1000)
        connection.execute(update(runs).where(runs.c.id == run).values(heard_ms=heard))
    return str(run)


def _samples(client: TestClient, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/v1/runs/{run}/samples", params={"points": 5000}).json()["samples"]
    return found


def test_old_samples_are_thinned_with_their_peaks_then_dropped(
    client: TestClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.store.retention.THINNED_POINTS", 100)
    database = Database(database_url)
    upkeep = Upkeep(database, 30 * _DAY, None)
    run = _run_of(client, 29)
    upkeep.step()
    assert len(_samples(client, run)) == 4000
    with database.write() as connection:
        connection.execute(update(runs).values(heard_ms=now_ms() - round(31 * _DAY * 1000)))
    upkeep.step()
    kept = _samples(client, run)
    assert 100 <= len(kept) <= 102
    for start in range(0, 4000, 40):  # of each stretch of 40 the highest is there, as it was
        expected = max(_PEAKS[start : start + 40])
        assert max(each["peak_bytes"] for each in kept if start <= each["sequence"] < start + 40) == expected
    assert kept[-1]["sequence"] == 3999  # a run that goes on goes on behind it
    with database.write() as connection:
        connection.execute(update(runs).values(heard_ms=now_ms() - round(61 * _DAY * 1000)))
    upkeep.step()
    assert _samples(client, run) == []
    listed = client.get(f"/v1/runs/{run}").json()
    assert (listed["peak_bytes"], listed["state"]) == (max(_PEAKS), "failed")
    database.close()


def test_a_run_that_goes_on_is_left_alone_and_one_that_is_back_is_thinned_again(
    local: TestClient, sqlite_url: str
) -> None:
    run, _ = with_run(local)
    database = Database(sqlite_url)
    assert local.post(f"/v1/runs/{run}/samples", json={"samples": [sample(0)]}).status_code == 200
    assert retention.oldest(database, 0, "dropped") is None
    local.put(f"/v1/runs/{run}/state", json={"state": "failed"})
    number = retention.oldest(database, 0, "dropped")
    assert number is not None
    retention.drop(database, number)
    assert retention.oldest(database, 0, "dropped") is None
    local.post(f"/v1/runs/{run}/samples", json={"samples": [sample(1)]})
    local.put(f"/v1/runs/{run}/state", json={"state": "failed"})
    assert retention.oldest(database, 0, "thinned") == number
    database.close()


def test_a_database_beyond_its_quota_loses_what_is_oldest_then_takes_nothing_more(
    local: TestClient, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.store.retention.THINNED_POINTS", 100)
    older = _run_of(local, 2)
    plan = local.get(f"/v1/runs/{older}").json()["plan_id"]
    newer = _run_of(local, 1, plan)
    database = Database(sqlite_url)
    used = retention.used_bytes(database)
    enough = Upkeep(database, None, used + 1)
    enough.step()
    assert len(_samples(local, older)) == 4000
    Upkeep(database, None, used - 1).step()
    assert (len(_samples(local, older)) < 200, len(_samples(local, newer))) == (True, 4000)
    own: Any = local.app.state.service  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    own.upkeep = Upkeep(database, None, 1000)
    own.upkeep.step()
    assert own.upkeep.is_full and _samples(local, newer) == []
    refused = local.post("/v1/runs", json={"plan_id": plan})
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:neuroflux:problem:storage-full")
    assert refused.headers["retry-after"] == "60"
    assert local.get("/v1/runs").status_code == 200
    assert local.delete(f"/v1/runs/{older}").status_code == 204  # which makes room
    own.upkeep = Upkeep(database, None, 2 * used)
    own.upkeep.step()
    assert local.post("/v1/runs", json={"plan_id": plan}).status_code == 201
    database.close()


def test_a_quota_is_for_sqlite(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--quota: is for SQLite"):
        ServiceSettings(tmp_path, "postgresql+psycopg://h/d", quota_bytes=1)


def test_a_password_in_a_file_may_hold_any_sign(tmp_path: Path) -> None:
    from sqlalchemy.engine import make_url

    file = tmp_path / "password"
    for password in ("p@ss/#?[]%:& é", "plain"):
        file.write_text(password + "\n")
        url = database_url("postgresql://me@host/db", tmp_path, str(file))
        assert (make_url(url).password, make_url(url).host) == (password, "host")
    with pytest.raises(InputError, match="cannot be read"):
        database_url("postgresql://me@host/db", tmp_path, str(tmp_path / "none"))
    with pytest.raises(InputError, match="for PostgreSQL"):
        database_url(None, tmp_path, str(file))


def test_metrics_tell_runs_devices_jobs_and_the_database(client: TestClient) -> None:
    run, plan = with_run(client)
    other = client.post("/v1/runs", json={"plan_id": plan["id"]}).json()["id"]
    client.put(f"/v1/runs/{other}/state", json={"state": "failed"})
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    assert [lines[f'neuroflux_runs{{state="{each}"}}'] for each in ("queued", "failed", "lost")] == ["1", "1", "0"]
    assert lines['neuroflux_devices{state="enrolled"}'] == lines['neuroflux_jobs{state="queued"}'] == "0"
    assert int(lines["neuroflux_database_bytes"]) > 100_000
    assert any(name.startswith("neuroflux_build_info{version=") for name in lines)
    assert run not in client.get("/metrics").text
