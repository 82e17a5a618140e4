"""People: roles, named tokens, and who changed what."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from api.store.tokens import set_admin
from tests.unit.api.service import ADMIN, CNN6, MACHINE, PLAN, bearer, sample, send, with_run
from tests.unit.api.test_auth import routes_of

ORIGIN = {"Origin": "http://127.0.0.1:8000"}


def _token(client: TestClient, name: str, role: str, **others: Any) -> dict[str, Any]:
    made = client.post("/v1/tokens", json={"name": name, "role": role, **others}, headers=bearer(ADMIN))
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def _session(client: TestClient, token: str) -> dict[str, str]:
    """Headers of a browser that has signed in."""
    client.cookies.clear()
    made = client.post("/", content=f"token={token}", headers=ORIGIN, follow_redirects=False)
    assert made.status_code == 303, made.text
    cookie = made.cookies["neuroflux_session"]
    client.cookies.clear()
    return {"Cookie": f"neuroflux_session={cookie}", **ORIGIN}


def test_who_may_read_changes_nothing(guarded: TestClient) -> None:
    """Every route, by token and by session: nothing but GET, and of those none that is an admin's."""
    token = _token(guarded, "guest", "read")["token"]
    session = _session(guarded, token)
    admins = {"/v1/tokens", "/v1/audit", "/v1/sessions", "/v1/enrolments"}
    ours = {("DELETE", "/v1/session"), ("POST", "/"), ("POST", "/docs"), ("POST", "/sign-in")}
    for method, path in sorted(routes_of(guarded)):
        if (method, path) in ours or path.endswith("/events"):
            continue
        for headers in (bearer(token), session):
            if (method, path) == ("POST", "/v1/session") and headers != session:
                continue
            status = guarded.request(method, path, headers=headers).status_code
            is_refused = method not in ("GET", "HEAD") or path in admins
            assert (status == 403) == is_refused, (method, path, status)
    who = guarded.get("/v1/session", headers=session).json()
    assert who == {"authentication": True, "kind": "session", "role": "read", "name": "guest"}
    refused = guarded.post("/v1/jobs", headers=session)
    assert refused.json()["detail"] == "who may read may not change anything"


def test_who_scrapes_reads_metrics_and_nothing_else(guarded: TestClient) -> None:
    token = _token(guarded, "grafana", "metrics")["token"]
    assert guarded.get("/metrics", headers=bearer(token)).status_code == 200
    for path in ("/v1/runs", "/docs", "/v1/session", "/openapi.json"):
        assert guarded.get(path, headers=bearer(token)).status_code == 403, path
    assert guarded.post("/", content=f"token={token}", headers=ORIGIN).status_code == 401


def test_named_tokens_are_listed_end_and_take_their_sessions_with_them(guarded: TestClient) -> None:
    anna, ben = _token(guarded, "anna", "admin"), _token(guarded, "ben", "read", days=1)
    admin = bearer(anna["token"])
    listed = guarded.get("/v1/tokens", headers=admin)
    assert [(one["name"], one["role"]) for one in listed.json()["items"]] == [
        ("ben", "read"),
        ("anna", "admin"),
        (None, "admin"),
    ]
    assert anna["token"] not in listed.text and ADMIN not in listed.text
    assert (anna["expires_at"], ben["expires_at"] is None) == (None, False)
    session = _session(guarded, ben["token"])
    (seen,) = guarded.get("/v1/sessions", headers=admin).json()["items"]
    assert (seen["name"], seen["role"]) == ("ben", "read")
    assert guarded.get("/v1/runs", headers=session).status_code == 200
    assert guarded.delete(f"/v1/tokens/{ben['id']}", headers=admin).status_code == 204
    assert guarded.delete(f"/v1/tokens/{ben['id']}", headers=admin).status_code == 404
    assert [guarded.get("/v1/runs", headers=each).status_code for each in (session, bearer(ben["token"]))] == [401, 401]
    wrong: tuple[dict[str, Any], ...] = ({"name": " "}, {"name": "x", "role": "device"}, {"name": "x", "days": 0})
    assert [guarded.post("/v1/tokens", json=each, headers=admin).status_code for each in wrong] == [422] * 3


def test_a_token_is_kept_as_its_hash_alone(guarded: TestClient) -> None:
    token = _token(guarded, "anna", "admin")["token"]
    database: Any = guarded.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    with database.read() as connection:
        rows = str(
            connection.execute(text("SELECT * FROM tokens")).all()
            + connection.execute(text("SELECT * FROM audit")).all()
        )
    assert "anna" in rows and token not in rows and token.removeprefix("nfx_") not in rows


def test_another_admin_file_ends_its_own_sessions_and_no_named_token(guarded: TestClient) -> None:
    anna = _token(guarded, "anna", "admin")["token"]
    of_file, hers = _session(guarded, ADMIN), _session(guarded, anna)
    database: Any = guarded.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    set_admin(database, ADMIN + "2")
    answers = [guarded.get("/v1/runs", headers=each).status_code for each in (of_file, hers, bearer(anna))]
    assert answers == [401, 200, 200]


def test_who_changed_what_is_written_down(guarded: TestClient) -> None:
    guarded.headers.update(bearer(ADMIN))
    run, plan = with_run(guarded)
    anna = _token(guarded, "anna", "admin")
    session = _session(guarded, anna["token"])
    del guarded.headers["Authorization"]
    assert guarded.patch(f"/v1/runs/{run}", json={"name": "x"}, headers=session).status_code == 200
    guest = _token(guarded, "guest", "read")["token"]
    guarded.delete(f"/v1/runs/{run}", headers=bearer(guest))
    enrolment = guarded.post("/v1/enrolments", json={}, headers=bearer(ADMIN)).json()["token"]
    body = {"name": "board", "machine": MACHINE, "threads": 4}
    device = guarded.post("/v1/devices", json=body, headers=bearer(enrolment)).json()
    began = guarded.post("/v1/runs", json={"plan_id": plan["id"]}, headers=bearer(device["token"])).json()["id"]
    # What comes all the time, was there already, or is wrong, is not.
    guarded.post(f"/v1/runs/{began}/samples", json={"samples": [sample(0)]}, headers=bearer(device["token"]))
    guarded.put(f"/v1/runs/{began}/state", json={"state": "running"}, headers=bearer(device["token"]))
    guarded.post("/v1/plans", json=PLAN, headers=bearer(ADMIN))
    send(guarded, "/v1/profiles", CNN6, **bearer(ADMIN))
    guarded.delete("/v1/runs/nowhere", headers=bearer(ADMIN))
    found = guarded.get("/v1/audit", headers=bearer(ADMIN)).json()["items"]
    told = [(one["actor"], one["kind"], one["action"], one["object"], one["status"]) for one in reversed(found)]
    profile = PLAN["profile"]
    assert told == [
        ("", "admin", "store_profile", f"/v1/profiles/{profile}", 201),
        ("", "admin", "make_plan", f"/v1/plans/{plan['id']}", 201),
        ("", "admin", "create_run", f"/v1/runs/{run}", 201),
        ("", "admin", "create_token", f"/v1/tokens/{anna['id']}", 201),
        ("anna", "admin", "sign_in_form", "/", 303),
        ("anna", "session", "mark_run", f"/v1/runs/{run}", 200),
        ("", "admin", "create_token", found[-7]["object"], 201),
        ("guest", "read", "delete_run", f"/v1/runs/{run}", 403),
        ("", "admin", "create_enrolment", "/v1/enrolments", 201),
        ("", "enrolment", "enrol_device", f"/v1/devices/{device['device']['id']}", 201),
        ("board", "device", "create_run", f"/v1/runs/{began}", 201),
    ]
    assert all(one["client"] == "testclient" and one["at"] for one in found)
    by_anna = guarded.get("/v1/audit", params={"token": anna["id"]}, headers=bearer(ADMIN)).json()["items"]
    assert [one["action"] for one in by_anna] == ["sign_in_form"]
    plans = guarded.get("/v1/audit", params={"action": "make_plan", "limit": 1}, headers=bearer(ADMIN)).json()
    assert (len(plans["items"]), plans["next_cursor"]) == (1, None)


def test_what_cannot_be_written_down_is_done_and_logged(guarded: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    database: Any = guarded.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    with database.write() as connection:
        connection.execute(text("DROP TABLE audit"))
    _token(guarded, "anna", "admin")
    assert "not written down: create_token" in caplog.text
