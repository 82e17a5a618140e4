"""Who may do what: every route, every method, every kind of token."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount
from starlette.testclient import TestClient

from api.settings import ServiceSettings
from api.store.tokens import set_admin
from planner.errors import InputError
from tests.unit.api.service import ADMIN, MACHINE, PLAN, bearer, name_server, sample, send, with_plan

HEALTH = {"/healthz", "/readyz"}
DEVICE = {"name": "board", "machine": MACHINE, "threads": 4}


def routes_of(client: TestClient) -> Iterator[tuple[str, str]]:
    """Every path that the application has, by its own word, and its methods."""
    app: Any = client.app
    pending = list(app.routes)
    while pending:
        route = pending.pop()
        if isinstance(route, Mount):
            yield "GET", route.path or "/"
            yield "GET", f"{route.path}/anything"
        elif isinstance(route, APIRoute):
            for method in route.methods or ():
                yield method, route.path.replace("{", "").replace("}", "")
        else:
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            assert inner is not None, f"{route!r} is a kind of route that this test does not know"
            pending += inner.routes


def test_the_routes_are_all_found(guarded: TestClient) -> None:
    found = set(routes_of(guarded))
    described: Any = guarded.get("/openapi.json", headers=bearer(ADMIN)).json()["paths"]
    expected = {
        (method.upper(), path.replace("{", "").replace("}", "")) for path, each in described.items() for method in each
    }
    assert expected <= found
    assert {("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/sign-in")} <= found


def test_every_route_but_health_needs_a_token(guarded: TestClient) -> None:
    for method, path in routes_of(guarded):
        for headers in (
            {},
            bearer("nfx_wrong"),
            {"Cookie": "neuroflux_session=nfx_wrong"},
            {"Authorization": "Basic x"},
        ):
            answer = guarded.request(method, path, headers={**headers, "Origin": "http://127.0.0.1:8000"})
            expected = 200 if path in HEALTH else 401
            assert answer.status_code == expected, (method, path, headers)


def test_a_service_for_others_does_not_start_without_authentication(tmp_path: Any) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "bench.local"):
        with pytest.raises(InputError, match="admin-token-file"):
            ServiceSettings(tmp_path, "sqlite:///x", host=host)
        ServiceSettings(tmp_path, "sqlite:///x", host=host, authentication=True)
    for host in ("127.0.0.1", "::1", "localhost"):
        ServiceSettings(tmp_path, "sqlite:///x", host=host)


def _enrolled(client: TestClient) -> str:
    token = client.post("/v1/enrolments", json={}, headers=bearer(ADMIN)).json()["token"]
    answer = client.post("/v1/devices", json=DEVICE, headers=bearer(token))
    assert answer.status_code == 201
    assert client.post("/v1/devices", json=DEVICE, headers=bearer(token)).status_code == 401  # good once
    found: str = answer.json()["token"]
    return found


def test_a_device_enrols_works_and_is_revoked(guarded: TestClient) -> None:
    token = _enrolled(guarded)
    assert guarded.get("/v1/plans", headers=bearer(token)).status_code == 200
    for method, path in (
        ("POST", "/v1/enrolments"),
        ("POST", "/v1/jobs"),
        ("POST", "/v1/devices"),
        ("POST", "/v1/session"),
    ):
        assert guarded.request(method, path, json={}, headers=bearer(token)).status_code == 403
    device = guarded.get("/v1/devices", headers=bearer(token)).json()["items"][0]["id"]
    assert guarded.delete(f"/v1/devices/{device}", headers=bearer(token)).status_code == 403
    assert guarded.delete(f"/v1/devices/{device}", headers=bearer(ADMIN)).status_code == 204
    assert guarded.get("/v1/plans", headers=bearer(token)).status_code == 401


def test_a_device_that_enrols_again_is_the_same_device(guarded: TestClient) -> None:
    guarded.headers.update(bearer(ADMIN))
    plan = with_plan(guarded)
    token = _enrolled(guarded)
    run = guarded.post("/v1/runs", json={"plan_id": plan["id"]}, headers=bearer(token)).json()
    assert guarded.delete(f"/v1/devices/{run['device_id']}").status_code == 204

    def enrol(**others: Any) -> Any:
        enrolment = guarded.post("/v1/enrolments", json={}).json()["token"]
        return guarded.post("/v1/devices", json={**DEVICE, **others}, headers=bearer(enrolment)).json()

    again = enrol(name="renamed", earlier_token=token)
    assert (again["device"]["id"], again["device"]["name"]) == (run["device_id"], "renamed")
    path = f"/v1/runs/{run['id']}/samples"
    answers = [
        guarded.post(path, json={"samples": [sample(0)]}, headers=bearer(each)) for each in (token, again["token"])
    ]
    assert [answer.status_code for answer in answers] == [401, 200]
    assert guarded.get(f"/v1/runs/{run['id']}").json()["state"] == "running"
    assert enrol(earlier_token="nfx_of-nobody")["device"]["id"] != run["device_id"]
    assert enrol()["device"]["id"] != run["device_id"]


def test_a_device_has_nothing_measured_on_the_services_machine(guarded: TestClient) -> None:
    guarded.headers.update(bearer(ADMIN))
    token = _enrolled(guarded)
    name_server(guarded, "a" * 64)
    asked = {"model": "cnn6", "budget": {"bytes": 2**30}}
    refused = guarded.post("/v1/plans", json=asked, headers=bearer(token))
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:neuroflux:problem:profile-missing")
    assert guarded.get("/v1/jobs").json()["items"] == []
    assert guarded.post("/v1/plans", json=asked).status_code == 202


def test_an_enrolment_token_expires_and_is_good_for_nothing_else(guarded: TestClient) -> None:
    token = guarded.post("/v1/enrolments", json={"seconds": 1}, headers=bearer(ADMIN)).json()["token"]
    assert guarded.get("/v1/plans", headers=bearer(token)).status_code == 403
    database: Any = guarded.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    from api.store.tables import tokens

    with database.write() as connection:
        connection.execute(tokens.update().where(tokens.c.kind == "enrolment").values(expires_ms=1))
    assert guarded.post("/v1/devices", json=DEVICE, headers=bearer(token)).status_code == 401
    assert guarded.post("/v1/enrolments", json={"seconds": 10**9}, headers=bearer(ADMIN)).status_code == 422


def test_a_device_writes_to_its_own_runs_alone(guarded: TestClient) -> None:
    guarded.headers.update(bearer(ADMIN))
    plan = with_plan(guarded)
    one, other = _enrolled(guarded), _enrolled(guarded)
    run = guarded.post("/v1/runs", json={"plan_id": plan["id"]}, headers=bearer(one)).json()["id"]
    path = f"/v1/runs/{run}/samples"
    assert guarded.post(path, json={"samples": [sample(0)]}, headers=bearer(one)).status_code == 200
    assert guarded.post(path, json={"samples": [sample(1)]}, headers=bearer(other)).status_code == 403


def test_a_browser_signs_in_by_a_form_and_scripts_never_see_the_cookie(guarded: TestClient) -> None:
    page = guarded.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert "<script" not in page.text
    origin = {"Origin": "http://127.0.0.1:8000"}
    for path in ("/", "/docs", "/sign-in"):  # a page sends its form to itself, so that what stands behind # is kept
        wrong = guarded.post(path, content="token=nfx_no", headers=origin)
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        assert "This is not the token" in wrong.text and "nfx_no" not in wrong.text
        assert "action=" not in wrong.text
        found = guarded.post(path, content=f"token={ADMIN}", headers=origin, follow_redirects=False)
        assert (found.status_code, found.headers["location"]) == (303, path if path == "/docs" else "/")
        guarded.cookies.clear()
    assert "This is not the token" not in page.text
    answer = guarded.post("/sign-in", content=f"token={ADMIN}", headers=origin, follow_redirects=False)
    assert answer.status_code == 303
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    assert ADMIN not in answer.headers["set-cookie"]
    assert guarded.get("/v1/runs").status_code == 200
    assert guarded.post("/v1/models", json={"schema": "model/1", "zoo": "cnn6"}).status_code == 403  # says no Origin
    stored = guarded.post("/v1/models", json={"schema": "model/1", "zoo": "cnn6"}, headers=origin)
    assert stored.status_code == 201
    assert guarded.delete("/v1/session", headers=origin).status_code == 204
    assert guarded.get("/v1/runs").status_code == 401


def test_sessions_and_enrolments_are_listed_and_ended(guarded: TestClient) -> None:
    admin = bearer(ADMIN)
    own, other = (guarded.post("/v1/session", headers=admin).cookies["neuroflux_session"] for _ in range(2))
    guarded.cookies.clear()
    here = {"Cookie": f"neuroflux_session={own}", "Origin": "http://127.0.0.1:8000"}
    there = {"Cookie": f"neuroflux_session={other}"}
    listed = guarded.get("/v1/sessions", headers=here).json()["items"]
    assert [item["is_own"] for item in listed] == [False, True]
    assert own not in str(listed)
    assert guarded.delete(f"/v1/sessions/{listed[0]['id']}", headers=here).status_code == 204
    assert guarded.delete(f"/v1/sessions/{listed[0]['id']}", headers=here).status_code == 404
    assert [guarded.get("/v1/runs", headers=each).status_code for each in (here, there)] == [200, 401]
    made = guarded.post("/v1/enrolments", json={}, headers=admin).json()
    (found,) = guarded.get("/v1/enrolments", headers=admin).json()["items"]
    assert (found["id"], "token" in found) == (made["id"], False)
    assert guarded.delete(f"/v1/enrolments/{found['id']}", headers=admin).status_code == 204
    assert guarded.post("/v1/devices", json=DEVICE, headers=bearer(made["token"])).status_code == 401
    assert guarded.get("/v1/enrolments", headers=admin).json()["items"] == []
    for path in ("/v1/sessions", "/v1/enrolments"):
        assert guarded.get(path, headers=bearer(_enrolled(guarded))).status_code == 403


def test_a_new_admin_token_ends_what_the_old_one_has_let_in(guarded: TestClient) -> None:
    session = guarded.post("/v1/session", headers=bearer(ADMIN)).cookies["neuroflux_session"]
    guarded.cookies.clear()
    enrolment = guarded.post("/v1/enrolments", json={}, headers=bearer(ADMIN)).json()["token"]
    device = _enrolled(guarded)
    database: Any = guarded.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    cookie = {"Cookie": f"neuroflux_session={session}"}
    set_admin(database, ADMIN)  # as at every start
    assert guarded.get("/v1/runs", headers=cookie).status_code == 200
    set_admin(database, ADMIN + "2")
    assert guarded.get("/v1/runs", headers=bearer(ADMIN)).status_code == 401
    assert guarded.get("/v1/runs", headers=cookie).status_code == 401
    assert guarded.post("/v1/devices", json=DEVICE, headers=bearer(enrolment)).status_code == 401
    assert guarded.get("/v1/runs", headers=bearer(device)).status_code == 200
    assert guarded.get("/v1/runs", headers=bearer(ADMIN + "2")).status_code == 200


def test_a_session_is_no_bearer_token_and_a_token_is_no_cookie(guarded: TestClient) -> None:
    answer = guarded.post("/v1/session", headers=bearer(ADMIN))
    session = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    guarded.cookies.clear()
    assert guarded.get("/v1/runs", headers=bearer(session)).status_code == 401
    assert guarded.get("/v1/runs", headers={"Cookie": f"neuroflux_session={ADMIN}"}).status_code == 401
    assert guarded.get("/v1/runs", headers={"Cookie": f"neuroflux_session={session}"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8000", "", "a b", "127.0.0.1:x"])
def test_a_name_that_is_not_ours_is_refused(local: TestClient, host: str) -> None:
    assert local.get("/v1/plans", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000", "192.168.1.4:8000"])
def test_addresses_and_our_own_names_are_let_through(local: TestClient, host: str) -> None:
    assert local.get("/v1/plans", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9", "http://127.0.0.1:8000.evil.example"]
)
def test_pages_from_elsewhere_are_refused(local: TestClient, origin: str) -> None:
    assert local.post("/v1/plans", json=PLAN, headers={"Origin": origin}).status_code == 403


def test_no_page_runs_script_that_is_not_ours(guarded: TestClient) -> None:
    for path in ("/", "/docs", "/healthz", "/v1/models", "/nowhere"):
        policy = guarded.get(path, headers=bearer(ADMIN)).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    for path in ("/", "/docs"):
        text = guarded.get(path, headers=bearer(ADMIN)).text
        assert "<script>" not in text
        assert "style=" not in text
        assert "http://" not in text.replace("http://www.w3.org", "")


def test_tokens_never_reach_a_log(guarded: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = _enrolled(guarded)
    guarded.get("/v1/plans?token=" + token, headers=bearer(token))
    guarded.get("/v1/models/" + token[:60], headers=bearer(token))
    send(guarded, "/v1/plans", token.encode(), **bearer(token))
    database: Any = guarded.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE tokens RENAME TO gone")
    assert guarded.get("/v1/plans", headers=bearer(token)).status_code == 503  # logged, without what was looked for
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert any("the database failed" in text for text in ours)
    for text in ours:
        assert token not in text
        assert ADMIN not in text
