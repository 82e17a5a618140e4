"""A service in this process, and documents to send to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from api.app import create_app
from api.settings import ServiceSettings
from api.store import device_rows
from api.store.tokens import set_admin
from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.common import Machine
from planner.units import MIB

ADMIN = "nfx_the-admin-of-these-tests-and-no-other"
CNN6 = (FOLDER / "models" / "cnn6-3x32x32-10-sgd.json").read_bytes()
PLAN = {"model": "cnn6", "budget": {"bytes": 400 * MIB}, "profile": json.loads(CNN6)["id"]}
MACHINE = {
    "name": "a board",
    "architecture": "aarch64",
    "cpu_model": "Cortex-A76",
    "cores": 4,
    "isa": ["neon"],
    "total_bytes": 2**32,
    "available_bytes": 2**31,
    "limit_bytes": None,
    "swap_bytes": 0,
    "allocator": "glibc",
    "kernel": "6.6",
    "python_version": "3.11.2",
    "torch_version": "2.13.0",
    "unified_memory": False,
}


@contextmanager
def service(url: str, folder: Path, authentication: bool = False) -> Iterator[TestClient]:
    """A client of a service on the database `url`."""
    settings = ServiceSettings(folder, url, authentication=authentication, solver_workers=1)
    app = create_app(settings)
    if authentication:
        set_admin(app.state.service.database, ADMIN)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def send(client: TestClient, path: str, body: bytes, **headers: str) -> Any:
    """POST bytes as JSON."""
    return client.post(path, content=body, headers={"Content-Type": "application/json", **headers})


def with_profile(client: TestClient) -> None:
    """Upload cnn6's profile."""
    assert send(client, "/v1/profiles", CNN6).status_code == 201


def with_plan(client: TestClient) -> Any:
    """Upload the profile and make a plan."""
    with_profile(client)
    answer = client.post("/v1/plans", json=PLAN)
    assert answer.status_code == 201, answer.text
    return answer.json()


def with_run(client: TestClient) -> tuple[str, Any]:
    """A run's id and its plan."""
    plan = with_plan(client)
    return client.post("/v1/runs", json={"plan_id": plan["id"]}).json()["id"], plan


def sample(sequence: int, **others: Any) -> dict[str, Any]:
    """A sample."""
    usual = {"seconds": float(sequence), "block": 0, "epoch": 0, "step": sequence, "loss": 1.0}
    return {"sequence": sequence, **usual, "resident_bytes": 100, "peak_bytes": 200, **others}


def name_server(client: TestClient, fingerprint: str) -> None:
    """Let the service measure on a machine, as its worker says at its start."""
    database = client.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    machine = Machine(**{**MACHINE, "isa": ("neon",)})  # type: ignore[arg-type]  # as written above
    device_rows.set_server(database, "here", fingerprint, machine)


def cnn6_fingerprint() -> str:
    """The device of the uploaded profile."""
    return read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json").device.fingerprint
