"""A database that somebody else has locked: reads go on."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api import limits
from api.store import database
from tests.unit.api.sockets import listening


def test_reads_are_answered_while_sqlite_is_locked(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 10**6)  # a write waits for as long as the lock lasts
    monkeypatch.setattr(database, "WRITE_SECONDS", 0.2)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    with listening(sqlite_url, tmp_path) as served, ThreadPoolExecutor(3 * limits.STORE_THREADS) as pool:
        other.execute("BEGIN IMMEDIATE")
        writes = [pool.submit(served.client.post, "/v1/enrolments", json={}) for _ in range(3 * limits.STORE_THREADS)]
        assert [served.client.get(path).status_code for path in ("/v1/runs", "/readyz", "/healthz")] == [200] * 3
        other.execute("ROLLBACK")
        found = sorted(write.result().status_code for write in writes)
        assert (found[0], set(found[1:]) <= {201, 503}) == (201, True)
        assert served.client.post("/v1/enrolments", json={}).status_code == 201
    other.close()
