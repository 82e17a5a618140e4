"""Whose a profile is: what one device sends never takes the place of what another one has measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.store.tables import devices
from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.codec import content_id, to_json
from tests.unit.api.service import ADMIN, CNN6, MACHINE, PLAN, bearer, cnn6_fingerprint, name_server, send


def _measured(factor: float) -> bytes:
    """cnn6's profile as of a device that is so much slower."""
    first = read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")
    assert first.calibration_seconds is not None
    again = replace(first, calibration_seconds=factor * first.calibration_seconds)
    return to_json(replace(again, id=content_id(again))).encode()


@pytest.fixture
def admin(guarded: TestClient) -> TestClient:
    guarded.headers.update(bearer(ADMIN))
    return guarded


def _enrol(admin: TestClient, name: str) -> tuple[str, dict[str, str]]:
    """A device of the profile's fingerprint: its id, and the header that it authenticates with."""
    enrolment = admin.post("/v1/enrolments", json={}).json()["token"]
    body = {"name": name, "machine": MACHINE, "threads": 4}
    answer = admin.post("/v1/devices", json=body, headers=bearer(enrolment)).json()
    identity: str = answer["device"]["id"]
    database: Any = admin.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    with database.write() as connection:
        connection.execute(devices.update().where(devices.c.id == identity).values(fingerprint=cnn6_fingerprint()))
    return identity, bearer(answer["token"])


def _used(admin: TestClient, device: str) -> str:
    """The profile that plans for a device are made from."""
    asked = {**{name: value for name, value in PLAN.items() if name != "profile"}, "device": device}
    answer = admin.post("/v1/plans", json=asked)
    assert answer.is_success, answer.text
    return str(answer.json()["profile_id"])


def _send(admin: TestClient, text: bytes, headers: dict[str, str]) -> str:
    answer = send(admin, "/v1/profiles", text, **headers)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def test_what_another_device_sends_is_kept_beside(admin: TestClient) -> None:
    mine, my_token = _enrol(admin, "mine")
    other, other_token = _enrol(admin, "other")
    third, _ = _enrol(admin, "third")
    own = _send(admin, CNN6, my_token)
    foreign = _send(admin, _measured(50.0), other_token)
    assert [_used(admin, each) for each in (mine, other)] == [own, foreign]
    assert _used(admin, third) == own  # of devices like it, the first one that was there
    listed = admin.get("/v1/profiles", params={"fingerprint": cnn6_fingerprint()}).json()["items"]
    assert [(item["id"], [owner["name"] for owner in item["owners"]]) for item in listed] == [
        (foreign, ["other"]),
        (own, ["mine"]),
    ]
    of_admin = _send(admin, _measured(2.0), {})
    assert [_used(admin, each) for each in (mine, other, third)] == [own, foreign, of_admin]
    newer = _send(admin, _measured(3.0), my_token)
    assert [_used(admin, each) for each in (mine, third)] == [newer, of_admin]


def test_the_services_own_machine_believes_no_device(admin: TestClient) -> None:
    _, token = _enrol(admin, "board")
    name_server(admin, cnn6_fingerprint())
    _send(admin, _measured(50.0), token)
    asked = {**{name: value for name, value in PLAN.items() if name != "profile"}, "device": "server"}
    assert admin.post("/v1/plans", json=asked).status_code == 202  # it is measured
    own = _send(admin, CNN6, {})
    assert _used(admin, "server") == own


def test_a_profile_is_deleted_by_who_has_sent_it(admin: TestClient) -> None:
    mine, my_token = _enrol(admin, "mine")
    _, other_token = _enrol(admin, "other")
    own = _send(admin, CNN6, my_token)
    plan = admin.post("/v1/plans", json=PLAN).json()["id"]
    assert admin.delete(f"/v1/profiles/{own}", headers=other_token).status_code == 403
    assert _send(admin, CNN6, other_token) == own  # who sends it too is an owner, and takes back no more than that
    assert admin.delete(f"/v1/profiles/{own}", headers=other_token).status_code == 204
    assert _used(admin, mine) == own
    assert admin.delete(f"/v1/profiles/{own}", headers=my_token).status_code == 204
    assert [admin.delete(f"/v1/profiles/{own}").status_code, admin.get(f"/v1/profiles/{own}").status_code] == [404, 404]
    assert admin.get(f"/v1/plans/{plan}").status_code == 200
    gone = admin.get(f"/v1/plans/{plan}/units")
    assert (gone.status_code, "it was deleted" in gone.json()["detail"]) == (404, True)
    again = admin.post("/v1/plans", json=PLAN)
    assert (again.status_code, again.json()["field"]) == (422, "$.profile")
    assert _send(admin, CNN6, {}) == own
    assert admin.delete(f"/v1/profiles/{own}").status_code == 204
