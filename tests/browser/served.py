"""A served instance with a real run's data, and what the tests send to it beside that."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from httpx import Response

from tests.integration.api.processes import Server, until
from tests.unit.api.service import CNN6

_SAMPLES = 64
_BATCH = 16
_STEPS = 4

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay")
"""What the data's classes are called."""


@dataclass(frozen=True)
class Served:
    """The service, a plan with several blocks, and data for it."""

    server: Server
    plan: dict[str, Any]
    data: Path

    @property
    def url(self) -> str:
        """Where it is."""
        return self.server.url

    def post(self, path: str, value: Any) -> Any:
        """Send a document, which has to be taken."""
        answer = self.server.client.post(path, json=value)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        """A document."""
        answer = self.server.client.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def begin_run(self, name: str) -> str:
        """The id of a run that nobody reports yet."""
        return str(self.post("/v1/runs", {"plan_id": self.plan["id"], "name": name})["id"])

    def send_steps(self, run: str, first: int, last: int, **others: Any) -> None:
        """Samples with the sequence numbers first to last, evenly over the plan's blocks."""
        budget = self.plan["budget"]["bytes"]
        usual = {"epoch": 0, "loss": 1.5, "resident_bytes": budget // 2, "peak_bytes": budget * 9 // 10, "block": 0}
        steps = [
            {"sequence": each, "seconds": each / 10, "step": each, **usual, **others} for each in range(first, last + 1)
        ]
        self.post(f"/v1/runs/{run}/samples", {"samples": steps})

    def start_training(self, out: Path) -> tuple[subprocess.Popen[bytes], str]:
        """A real run that reports to the service, and its id there once it has begun."""
        command = [sys.executable, "-m", "planner.cli.main", "run", f"{self.url}/v1/plans/{self.plan['id']}"]
        # The profile that the plan is made from was measured elsewhere.
        options = ["--data", str(self.data), "--out", str(out), "--max-steps", str(_STEPS), "--quiet", "--any-device"]
        process = subprocess.Popen([*command, *options, "--report-to", self.url], stderr=subprocess.PIPE)

        def begun() -> str | None:
            assert process.poll() in (None, 0), process.stderr and process.stderr.read().decode()
            runs = self.get("/v1/runs")["items"]
            return next((run["id"] for run in runs if run["name"] == out.name), None)

        return process, until(begun, "the run's beginning")


def end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of a process."""
    if process.poll() is None:
        process.kill()
    process.wait(timeout=60)
    if process.stderr is not None:
        process.stderr.close()


def with_plan(server: Server, folder: Path) -> Served:
    """Upload cnn6's shipped profile and make a plan of several blocks that fits a small budget."""
    server.client.post("/v1/profiles", content=CNN6, headers={"Content-Type": "application/json"})
    question = {
        "model": "cnn6",
        "profile": json.loads(CNN6)["id"],
        "prefer": "speed",
        "training": {"batch": _BATCH, "epochs": 1, "samples": _SAMPLES},
    }

    def ask(count: int) -> Response:
        # Above the runtime's own, so that it is one plan with every build of torch.
        return server.client.post("/v1/plans", json={**question, "budget": {"bytes": count, "scope": "training"}})

    answer = ask(ask(1).json()["minimum_bytes"] + 2 * 2**20)
    assert answer.is_success, answer.text
    assert len(answer.json()["blocks"]) > 1
    return Served(server, answer.json(), _images(folder / "images.npz"))


def _images(path: Path) -> Path:
    """Random images of cnn6's input, with names for their classes."""
    noise = np.random.default_rng(0)
    arrays: dict[str, Any] = {"class_names": np.array(CLASSES)}
    for prefix, count in (("", _SAMPLES), ("test_", 20)):
        arrays[f"{prefix}images"] = noise.integers(0, 256, (count, 32, 32, 3), np.uint8)
        arrays[f"{prefix}labels"] = np.arange(count) % len(CLASSES)
    np.savez(path, **arrays)
    return path
