"""What a request may cost the service's process, by the kernel's word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.routes.models import EXAMPLE
from planner.system.proc import read_memory
from planner.units import MIB
from tests.integration.api.processes import Server, serving
from tests.unit.api.test_limits import HUGE

JSON = {"Content-Type": "application/json"}
_PIECE = 2**16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API that has met its routes once, so that what they import is there."""
    with serving(tmp_path_factory.mktemp("memory"), "--only", "api") as found:
        found.client.post("/v1/models", content=json.dumps(EXAMPLE), headers=JSON)
        yield found


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_model_takes_no_memory(server: Server, name: str, announced: bool) -> None:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    before = read_memory(server.process.pid).resident_bytes
    body = HUGE[name]
    answer = server.client.post("/v1/models", content=body if announced else _pieces(body), headers=JSON)
    assert answer.status_code == 422
    assert read_memory(server.process.pid).peak_bytes - before <= 10 * MIB


def test_the_process_stays_small(server: Server) -> None:
    server.client.get("/openapi.json")
    assert read_memory(server.process.pid).resident_bytes <= 120 * MIB
