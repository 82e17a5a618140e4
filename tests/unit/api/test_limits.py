"""Ceilings: what is too long, too deep, too much gets a problem, quickly and without memory."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import limits
from api.routes.models import EXAMPLE
from api.solving import SolverPool
from planner.profiler.library.shipped import FOLDER
from planner.system.proc import read_memory, reset_peak
from planner.units import MIB
from tests.unit.api.service import PLAN, send, with_plan, with_profile


def _model(*layers: dict[str, Any], units: int = 1) -> bytes:
    chain = [{"name": f"u{index}", "layers": list(layers)} for index in range(units)]
    return json.dumps(
        {"schema": "model/1", "name": "big", "input": [3, 32, 32], "classes": 10, "units": chain}
    ).encode()


_VGG16 = (FOLDER / "models" / "vgg16-3x32x32-10-sgd.json").read_bytes()
_WIDE = {"op": "conv2d", "out_channels": 65536, "kernel": 64, "padding": 32}

HUGE = {
    "10^12 parameters": _model(_WIDE, _WIDE),
    "overflowing product": _model({"op": "linear", "out_features": 2**63}),
    "beyond every integer": _model(_WIDE).replace(b"65536", b"9" * 400),
    "10^6 layers": _model(*[{"op": "relu"}] * 10**6),
    "10^6 units": _model({"op": "relu"}, units=10**5),
    "10^5 deep": b"[" * 10**5,
    "as many layers as a body holds": _model(*[{"op": "relu"}] * 32_000),
    "as many units as a body holds": _model({"op": "relu"}, units=10_000),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_model_is_refused_without_being_built(local: TestClient, name: str) -> None:
    send(local, "/v1/models", json.dumps(EXAMPLE).encode())  # whatever is imported on first use
    body = HUGE[name]
    reset_peak()
    before = read_memory().peak_bytes
    answer = send(local, "/v1/models", body)
    grown = read_memory().peak_bytes - before
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert grown <= 10 * MIB


@pytest.mark.parametrize(
    "body",
    [b"NaN", b"1e400", b'{"model":"cnn6","budget":{"bytes":1e400}}', b'"\\ud800"', b"\xff", b"", b"{", b"null"],
)
def test_what_is_no_document_is_a_problem(local: TestClient, body: bytes) -> None:
    for path in ("/v1/models", "/v1/plans", "/v1/plans/compare", "/v1/profiles", "/v1/runs", "/v1/jobs", "/v1/devices"):
        answer = send(local, path, body)
        assert answer.status_code == 422, path
        assert answer.json()["field"].startswith("$")


def test_a_body_that_is_too_long_names_the_limit(local: TestClient) -> None:
    answer = send(local, "/v1/plans", b" " * (limits.MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["limit"]) == (422, limits.MAX_BODY_BYTES)
    assert local.post("/v1/plans", content=b"{}").status_code == 415
    assert local.app.state.service.bodies.held_bytes == 0  # type: ignore[attr-defined]  # Starlette's


def test_headers_and_paths_have_ceilings(local: TestClient) -> None:
    many = {f"X-{index}": "1" for index in range(limits.MAX_HEADERS + 1)}
    assert local.get("/v1/plans", headers=many).json()["limit"] == limits.MAX_HEADERS
    assert local.get("/v1/plans", headers={"X": "x" * limits.MAX_HEADER_BYTES}).status_code == 431
    assert local.get("/v1/plans?" + "x" * limits.MAX_REQUEST_LINE_BYTES).status_code == 414
    assert local.get("/v1/profiles?model=%00").status_code == 422
    assert local.get("/v1/models/a%00").status_code == 422


def test_a_busy_service_says_when_to_come_back_and_stays_healthy(local: TestClient) -> None:
    service: Any = local.app.state.service  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    service.in_flight = limits.MAX_IN_FLIGHT
    answer = local.get("/v1/plans")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, str(limits.RETRY_SECONDS))
    assert local.get("/healthz").status_code == 200
    service.in_flight = 0
    assert local.get("/v1/plans").status_code == 200


def test_a_solver_that_takes_too_much_time_is_replaced(local: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with_profile(local)
    service: Any = local.app.state.service  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    monkeypatch.setattr("api.solving.SOLVER_SECONDS", 0.0)
    answer = local.post("/v1/plans", json=PLAN)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:neuroflux:problem:solver-time-limit")
    monkeypatch.undo()
    assert local.post("/v1/plans", json=PLAN).status_code == 201
    assert service.solvers.replaced == 1


def test_a_solver_that_takes_too_much_memory_is_replaced(local: TestClient) -> None:
    service: Any = local.app.state.service  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    usual, service.solvers = service.solvers, SolverPool(1, memory_bytes=MIB)
    refused = send(local, "/v1/profiles", _VGG16)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:neuroflux:problem:solver-memory-limit")
    assert (refused.json()["limit"], service.solvers.replaced) == (MIB, 1)
    small = send(local, "/v1/profiles", b"{}")  # the worker in its place answers what it can
    assert (small.json()["type"], service.solvers.replaced) == ("urn:neuroflux:problem:invalid-request", 1)
    local.portal.call(service.solvers.close)  # type: ignore[union-attr]  # it is there within `with`
    service.solvers = usual
    assert send(local, "/v1/profiles", _VGG16).status_code == 201


@pytest.mark.parametrize(
    ("number", "status", "kind"),
    [(signal.SIGKILL, 422, "solver-memory-limit"), (signal.SIGTERM, 500, "internal-error")],
)
def test_only_a_solver_that_may_have_lacked_memory_is_said_to(
    local: TestClient, number: signal.Signals, status: int, kind: str
) -> None:
    pool: Any = local.app.state.service.solvers  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    assert send(local, "/v1/profiles", b"{}").status_code == 422  # a worker is there
    for process in pool._running:
        process.send_signal(number)
    answer = send(local, "/v1/profiles", b"{}")
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:neuroflux:problem:{kind}")
    assert number.name in answer.json()["detail"] or status == 422
    assert send(local, "/v1/profiles", b"{}").json()["type"] == "urn:neuroflux:problem:invalid-request"


def test_a_parameter_that_nobody_knows_is_refused(local: TestClient) -> None:
    misspelt = local.get("/v1/runs?plam=x")
    assert (misspelt.status_code, misspelt.json()["field"]) == (422, "query.plam")
    assert "plan" in misspelt.json()["detail"]
    assert local.get("/v1/plans/terms?x=1").status_code == 422
    assert [local.get(f"{path}?t=1").status_code for path in ("/healthz", "/readyz", "/metrics", "/")] == [200] * 4


def test_a_blank_name_is_none(local: TestClient) -> None:
    plan = with_plan(local)["id"]
    blank = local.post("/v1/runs", json={"plan_id": plan, "name": "  "})
    assert (blank.status_code, "blank" in blank.json()["detail"]) == (422, True)
    assert local.post("/v1/runs", json={"plan_id": plan, "name": " x "}).status_code == 201


def test_a_full_disk_is_not_ready(local: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local.get("/readyz").status_code == 200
    monkeypatch.setattr(limits, "LEAST_FREE_BYTES", 2**62)
    full = local.get("/readyz")
    assert (full.status_code, full.json()["type"]) == (503, "urn:neuroflux:problem:storage-full")
    assert local.get("/healthz").status_code == 200


def test_metrics_name_routes_and_no_ids(local: TestClient) -> None:
    local.get("/v1/plans/" + "a" * 64)
    local.get("/nowhere/" + "b" * 64)
    text = local.get("/metrics").text
    assert 'route="/v1/plans/{plan_id}",status="404"' in text
    assert "a" * 64 not in text
    assert "b" * 64 not in text


def test_jobs_beyond_what_may_wait_are_refused(client: TestClient) -> None:
    jobs = [{"kind": "profile", "model": "cnn6", "batch": batch} for batch in range(1, limits.MAX_QUEUED_JOBS + 2)]
    *taken, refused = [client.post("/v1/jobs", json=job) for job in jobs]
    assert {answer.status_code for answer in taken} == {202}
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert client.get("/healthz").status_code == 200
    assert client.delete(taken[0].headers["location"]).status_code == 202
    assert client.post("/v1/jobs", json=jobs[-1]).status_code == 202
