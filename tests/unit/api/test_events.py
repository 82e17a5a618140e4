"""Event streams over real sockets: how they end, and that none is counted that has."""

from __future__ import annotations

import asyncio
import json
import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api import events
from api.events import EventStream
from api.store.runs import RunKey
from api.store.tokens import LOCAL_ID, Principal
from tests.unit.api.service import CNN6, MACHINE, PLAN, bearer
from tests.unit.api.sockets import Listening, listening, rest, status


@pytest.fixture
def served(sqlite_url: str, tmp_path: Path) -> Iterator[Listening]:
    with listening(sqlite_url, tmp_path) as found:
        yield found


def _begin(served: Listening) -> str:
    stored = served.client.post("/v1/profiles", content=CNN6, headers={"Content-Type": "application/json"})
    assert stored.status_code == 201
    plan = served.client.post("/v1/plans", json=PLAN).json()["id"]
    return str(served.client.post("/v1/runs", json={"plan_id": plan}).json()["id"])


def test_who_leaves_before_the_first_event_is_not_counted(served: Listening) -> None:
    service = served.server.service
    stream = EventStream(service, RunKey(1, "", "", None, 1), -1, Principal("admin", LOCAL_ID))

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.Event().wait()

    service.in_flight += 1
    with ThreadPoolExecutor(1) as pool:  # a browser's tests may have an event loop in this thread
        pool.submit(asyncio.run, stream({"type": "http"}, gone, send)).result()
    assert (service.changes.streams, service.in_flight) == (0, 1)
    service.in_flight -= 1


def test_open_streams_keep_no_request_waiting_and_no_server_from_ending(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.limits.MAX_IN_FLIGHT", 2)
    monkeypatch.setattr("api.server._STOP_SECONDS", 10**6)
    with listening(sqlite_url, tmp_path) as served:
        run = _begin(served)
        streams = []
        for _ in range(4):
            streams.append(served.send(served.head("GET", f"/v1/runs/{run}/events")))
            assert status(streams[-1]) == 200
        assert served.client.get("/v1/runs").status_code == 200
    for each in streams:
        assert b"event: report" not in rest(each)
        each.close()


def test_a_revoked_devices_stream_ends(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "TOKEN_CHECK_SECONDS", 0.0)
    with listening(sqlite_url, tmp_path) as served:
        run = _begin(served)
        enrolment = served.client.post("/v1/enrolments", json={}).json()["token"]
        body = {"name": "board", "machine": MACHINE, "threads": 4}
        device = served.client.post("/v1/devices", json=body, headers=bearer(enrolment)).json()
        head = json.dumps(device["token"]).strip('"')
        ask = (
            f"GET /v1/runs/{run}/events HTTP/1.1\nHost: 127.0.0.1\nAuthorization: Bearer {head}\nConnection: close\n\n"
        )
        stream = served.send(ask)
        assert status(stream) == 200
        assert not select.select([stream], [], [], 1.5)[0] or stream.recv(65536)
        assert served.client.delete(f"/v1/devices/{device['device']['id']}").status_code == 204
        rest(stream)
        stream.close()
