"""Things that are there: named, labelled, archived, deleted, on both kinds of database."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.unit.api.service import ADMIN, CNN6, MACHINE, PLAN, bearer, sample, send, with_plan, with_run

DEVICE = {"name": "board", "machine": MACHINE, "threads": 4}


def _device(client: TestClient) -> tuple[str, str]:
    """An enrolled device's id and token."""
    enrolment = client.post("/v1/enrolments", json={}).json()["token"]
    made = client.post("/v1/devices", json=DEVICE, headers=bearer(enrolment)).json()
    return made["device"]["id"], made["token"]


def _everything(client: TestClient) -> dict[str, str]:
    """An id of every kind of thing that can be marked."""
    run, plan = with_run(client)
    model = client.post("/v1/models", json={"schema": "model/1", "zoo": "cnn6"})
    device = client.post("/v1/devices", json=DEVICE).json()["device"]["id"]
    stored = model.headers["location"].rpartition("/")[2]
    return {"runs": run, "plans": plan["id"], "profiles": PLAN["profile"], "models": stored, "devices": device}


def _ids(client: TestClient, kind: str, **query: Any) -> set[str]:
    return {item["id"] for item in client.get(f"/v1/{kind}", params=query).json()["items"]}


def test_everything_is_labelled_noted_and_archived(client: TestClient) -> None:
    for kind, identity in _everything(client).items():
        path = f"/v1/{kind}/{identity}"
        marked = client.patch(path, json={"labels": ["Nightly", "a_b"], "notes": "with\nthe new lens"})
        assert (marked.status_code, marked.json()["labels"]) == (200, ["Nightly", "a_b"]), marked.text
        assert marked.json()["notes"] == "with\nthe new lens"
        assert _ids(client, kind, label="nightly") == _ids(client, kind, label="a_b") == {identity}
        assert _ids(client, kind, label="axb") == _ids(client, kind, label="night") == set()
        archived = client.patch(path, json={"archived": True}).json()
        assert archived["labels"] == ["Nightly", "a_b"]  # what is left out stays
        assert client.patch(path, json={"archived": True}).json()["archived_at"] == archived["archived_at"] is not None
        assert _ids(client, kind, archived=True) == {identity}
        if kind != "models":  # the zoo's come last
            assert _ids(client, kind) == set()
        back = client.patch(path, json={"archived": False, "labels": [], "notes": ""}).json()
        assert (back["labels"], back["notes"], back["archived_at"]) == ([], "", None)
        assert identity in _ids(client, kind)
        assert client.patch(f"/v1/{kind}/nowhere", json={"notes": "x"}).status_code == 404
        assert client.patch(f"/v1/{kind}/nowhere", json={}).status_code == 404
        named = client.patch(path, json={"name": "bench-3"})
        assert named.json().get("name") == "bench-3" if kind in ("runs", "devices") else named.status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ["a b"]},
        {"labels": [""]},
        {"labels": ["x", "X"]},
        {"labels": [f"x{number}" for number in range(21)]},
        {"labels": ["ü"]},
        {"notes": "x" * 10_001},
        {"name": " "},
        {"archived": 1},
    ],
)
def test_marks_that_cannot_be_are_refused(local: TestClient, wrong: dict[str, Any]) -> None:
    run, _ = with_run(local)
    assert local.patch(f"/v1/runs/{run}", json=wrong).status_code == 422


def test_a_deleted_run_is_gone_with_all_of_it(client: TestClient) -> None:
    run, plan = with_run(client)
    keyed = {"Idempotency-Key": "once"}
    other = client.post("/v1/runs", json={"plan_id": plan["id"]}, headers=keyed).json()["id"]
    for each in (run, other):
        assert client.post(f"/v1/runs/{each}/samples", json={"samples": [sample(0), sample(1)]}).status_code == 200
    assert client.delete(f"/v1/runs/{other}").status_code == 204
    assert client.delete(f"/v1/runs/{other}").status_code == 404
    assert _ids(client, "runs") == {run}
    for path in ("", "/samples", "/events"):
        assert client.get(f"/v1/runs/{other}{path}").status_code == 404
    assert client.post(f"/v1/runs/{other}/samples", json={"samples": [sample(2)]}).status_code == 404
    again = client.post("/v1/runs", json={"plan_id": plan["id"]}, headers=keyed)
    assert again.status_code == 201 and again.json()["id"] != other
    assert client.get(f"/v1/runs/{again.json()['id']}/samples").json()["count"] == 0
    assert client.get(f"/v1/runs/{run}/samples").json()["count"] == 2


def test_what_another_process_has_deleted_gets_nothing_and_takes_nothing(client: TestClient) -> None:
    """Its number may be that of a newer run: SQLite gives it again."""
    run, plan = with_run(client)
    service: Any = client.app.state.service  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    path = f"/v1/runs/{run}"
    assert client.post(f"{path}/samples", json={"samples": [sample(0)]}).status_code == 200
    known = dict(service.run_keys)
    assert client.delete(path).status_code == 204
    newer = client.post("/v1/runs", json={"plan_id": plan["id"]}).json()["id"]
    service.run_keys.update(known)  # as in a process that has not been told
    assert client.post(f"{path}/samples", json={"samples": [sample(1)]}).status_code == 404
    assert client.put(f"{path}/state", json={"state": "failed"}).status_code == 404
    assert client.get(f"/v1/runs/{newer}").json()["state"] == "queued"
    assert client.get(f"{path}/events").text == "retry: 2000\n\n"


def test_a_plan_is_deleted_once_no_run_executes_it(client: TestClient) -> None:
    run, plan = with_run(client)
    path = f"/v1/plans/{plan['id']}"
    refused = client.delete(path)
    assert (refused.status_code, refused.json()["detail"][:6]) == (409, "1 runs")
    assert client.get(path).status_code == 200
    assert client.delete(path, params={"with_runs": True}).status_code == 204
    assert [client.get(each).status_code for each in (path, f"/v1/runs/{run}")] == [404, 404]
    assert client.delete(path).status_code == 404
    again = client.post("/v1/plans", json=PLAN)
    assert (again.status_code, again.json()["id"]) == (201, plan["id"])


def test_a_plan_that_another_process_has_deleted_is_made_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.limits.DELETED_SECONDS", -1.0)
    plan = with_plan(client)
    service: Any = client.app.state.service  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    text = service.plans.get(plan["id"])
    assert client.delete(f"/v1/plans/{plan['id']}").status_code == 204
    service.put_plan(plan["id"], text)
    assert client.get(f"/v1/plans/{plan['id']}").status_code == 404
    service.put_plan(plan["id"], text)
    assert client.post("/v1/plans", json=PLAN).status_code == 201
    assert client.post("/v1/runs", json={"plan_id": plan["id"]}).status_code == 201


def test_a_deleted_model_is_known_no_longer_and_its_plans_stay(local: TestClient) -> None:
    with_plan(local)
    description = {"schema": "model/1", "zoo": "cnn6"}
    path = local.post("/v1/models", json=description).headers["location"]
    asked = {**PLAN, "model": path.rpartition("/")[2]}
    assert local.post("/v1/plans", json=asked).status_code in (200, 201)
    assert local.delete(path).status_code == 204
    assert [local.delete(path).status_code, local.get(path).status_code] == [404, 404]
    assert local.post("/v1/plans", json={**asked, "budget": {"bytes": 2**29}}).json()["field"] == "$.model"
    assert local.delete("/v1/models/vgg16").status_code == 404
    assert len(_ids(local, "plans")) == 1


def test_a_deleted_device_leaves_its_runs_and_takes_its_profiles(client: TestClient) -> None:
    device, token = _device(client)
    assert send(client, "/v1/profiles", CNN6, **bearer(token)).status_code == 201
    plan = client.post("/v1/plans", json=PLAN).json()
    run = client.post("/v1/runs", json={"plan_id": plan["id"]}, headers=bearer(token)).json()["id"]
    assert client.delete(f"/v1/devices/{device}").status_code == 204  # revoked
    assert client.get(f"/v1/devices/{device}").json()["revoked_at"] is not None
    assert client.delete(f"/v1/devices/{device}", params={"purge": True}).status_code == 204
    assert client.get(f"/v1/devices/{device}").status_code == 404
    assert client.delete(f"/v1/devices/{device}", params={"purge": True}).status_code == 404
    found = client.get(f"/v1/runs/{run}").json()
    assert (found["device_id"], found["state"]) == (None, "interrupted")
    assert _ids(client, "profiles") == set()
    assert client.get("/v1/plans", headers=bearer(token)).status_code == 401


def test_only_an_admin_marks_and_deletes(guarded: TestClient) -> None:
    guarded.headers.update(bearer(ADMIN))
    run, _ = with_run(guarded)
    _, token = _device(guarded)
    assert guarded.patch(f"/v1/runs/{run}", json={}, headers=bearer(token)).status_code == 403
    for kind in ("runs", "plans", "models"):
        assert guarded.delete(f"/v1/{kind}/x", headers=bearer(token)).status_code == 403
