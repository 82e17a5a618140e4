"""What was acknowledged survives SIGKILL, and a service that is stopped leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.api.processes import Server, serving
from tests.unit.api.service import CNN6, PLAN, sample

JSON = {"Content-Type": "application/json"}


def _send_until_it_dies(server: Server, run: str, device: int, acknowledged: list[int]) -> None:
    """Samples one after another, each with a sequence number of this device's own; those that were acknowledged."""
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        for step in range(100_000):
            sequence = step * 8 + device
            try:
                answer = client.post(f"/v1/runs/{run}/samples", json={"samples": [sample(sequence)]})
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.append(sequence)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    options = ("--only", "api", "--db", url)
    acknowledged: list[list[int]] = [[] for _ in range(8)]
    with serving(tmp_path, *options) as server:
        assert server.client.post("/v1/profiles", content=CNN6, headers=JSON).status_code == 201
        plan = server.client.post("/v1/plans", json=PLAN).json()
        run = server.client.post("/v1/runs", json={"plan_id": plan["id"]}).json()["id"]
        threads = [
            threading.Thread(target=_send_until_it_dies, args=(server, run, device, acknowledged[device]))
            for device in range(8)
        ]
        for thread in threads:
            thread.start()
        while sum(map(len, acknowledged)) < 300:  # in the middle of it
            threads[0].join(0.01)
        server.kill()
        for thread in threads:
            thread.join()
    with serving(tmp_path, *options) as server:
        assert server.client.get(f"/v1/plans/{plan['id']}").json() == plan
        found: Any = server.client.get(f"/v1/runs/{run}/samples", params={"points": 5000}).json()
        kept = {one["sequence"] for one in found["samples"]}
        assert found["count"] == len(kept)
        sent = {sequence for each in acknowledged for sequence in each}
        assert sent <= kept


def test_a_stopped_service_ends_its_worker_and_says_nothing_bad(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.client.get("/healthz").status_code == 200
        assert server.stop() == 0
        assert "Traceback" not in server.log()


def test_the_api_runs_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not for the API')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with serving(tmp_path / "data", "--only", "api", environment={"PYTHONPATH": path}) as server:
        assert server.client.post("/v1/profiles", content=CNN6, headers=JSON).status_code == 201
        assert server.client.post("/v1/plans", json=PLAN).status_code == 201
        assert server.client.get("/openapi.json").status_code == 200


def test_the_process_that_answers_loads_neither_torch_nor_numpy() -> None:
    """Its solver workers load numpy, each under a ceiling of its own."""
    code = "import sys, api.app, api.server; print({'numpy', 'torch'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_another_address_needs_a_token_file_and_gets_one(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "planner.cli.main", "serve", "--port", "0"]
    command: list[str | Path] = [*serve, "--data-dir", tmp_path]
    found = subprocess.run([*command, "--host", "0.0.0.0"], capture_output=True, text=True)
    assert (found.returncode, "--admin-token-file" in found.stderr) == (2, True)
    file = tmp_path / "admin.token"
    options = ("--host", "0.0.0.0", "--admin-token-file", str(file), "--only", "api")
    with serving(tmp_path, *options) as server:
        port = server.url.rpartition(":")[2]
        base = f"http://127.0.0.1:{port}"
        token = file.read_text().strip()
        assert file.stat().st_mode & 0o077 == 0
        assert httpx.get(f"{base}/v1/models", trust_env=False).status_code == 401
        signed = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{base}/v1/models", headers=signed, trust_env=False).status_code == 200
        assert token not in server.log()
