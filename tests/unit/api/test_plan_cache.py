"""A request that is sent again: answered from memory, as long as the answer is still the right one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import event
from starlette.testclient import TestClient

from api.plan_cache import CachedPlan, PlanCache
from api.store.tables import devices
from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.codec import content_id, to_json
from planner.units import MIB
from tests.unit.api.service import (
    MACHINE,
    PLAN,
    cnn6_fingerprint,
    name_server,
    send,
    service,
    with_plan,
    with_profile,
)

OF_SERVER = {"model": "cnn6", "budget": {"bytes": 400 * MIB}}


@contextmanager
def statements(client: TestClient) -> Iterator[list[str]]:
    """Every SELECT that the service sends to its database."""
    seen: list[str] = []
    engine = client.app.state.service.database.engine  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if statement.startswith("SELECT"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def _newer_profile() -> bytes:
    """cnn6's profile, measured again: the device was twice as slow."""
    first = read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")
    assert first.calibration_seconds is not None
    again = replace(first, calibration_seconds=2 * first.calibration_seconds)
    return to_json(replace(again, id=content_id(again))).encode()


def test_a_repeated_request_costs_one_statement_at_most(local: TestClient) -> None:
    plan = with_plan(local)
    name_server(local, cnn6_fingerprint())
    local.post("/v1/plans", json=OF_SERVER)
    for request in (PLAN, OF_SERVER):
        with statements(local) as seen:
            again = local.post("/v1/plans", json=request)
        assert (again.status_code, again.json()["id"]) == (200, plan["id"])
        assert len(seen) == 1, seen


def test_a_newer_profile_from_another_process_is_taken_at_once(
    client: TestClient, database_url: str, tmp_path: Path
) -> None:
    with_profile(client)
    name_server(client, cnn6_fingerprint())
    first = client.post("/v1/plans", json=OF_SERVER)
    assert client.post("/v1/plans", json=OF_SERVER).json() == first.json()
    with service(database_url, tmp_path) as other:
        newer = send(other, "/v1/profiles", _newer_profile()).json()["id"]
    again = [client.post("/v1/plans", json=OF_SERVER) for _ in range(2)]
    assert [answer.status_code for answer in again] == [201, 200]
    assert [answer.json()["profile_id"] for answer in again] == [newer, newer]
    assert client.post("/v1/plans", json=PLAN).json()["profile_id"] == PLAN["profile"]  # that one was named


def test_a_machine_that_changed_is_measured_again(client: TestClient) -> None:
    with_profile(client)
    name_server(client, cnn6_fingerprint())
    assert [client.post("/v1/plans", json=OF_SERVER).status_code for _ in range(2)] == [201, 200]
    name_server(client, "b" * 64)
    assert client.post("/v1/plans", json=OF_SERVER).status_code == 202


def test_a_revoked_device_gets_no_plan_from_another_process(
    client: TestClient, database_url: str, tmp_path: Path
) -> None:
    with_profile(client)
    device = client.post("/v1/devices", json={"name": "board", "machine": MACHINE, "threads": 4}).json()["device"]["id"]
    with service(database_url, tmp_path) as other:
        database = other.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
        with database.write() as connection:
            row = devices.update().where(devices.c.id == device)
            connection.execute(row.values(fingerprint=cnn6_fingerprint()))
        asked = {**OF_SERVER, "device": device}
        assert [client.post("/v1/plans", json=asked).status_code for _ in range(2)] == [201, 200]
        assert other.delete(f"/v1/devices/{device}").status_code == 204
    refused = client.post("/v1/plans", json=asked)
    assert (refused.status_code, refused.json()["field"]) == (422, "$.device")


def test_the_oldest_answers_go_and_the_newest_word_counts() -> None:
    answers = PlanCache(2)
    known = [CachedPlan(str(index), "profile", None) for index in range(4)]
    answers.put(b"a", known[0])
    answers.put(b"b", known[1])
    answers.get(b"a")
    answers.put(b"c", known[2])
    answers.put(b"a", known[3])
    assert [answers.get(text) for text in (b"a", b"b", b"c")] == [known[3], None, known[2]]
