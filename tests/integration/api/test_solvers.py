"""Solver workers: processes of their own, started before they are needed, replaced when they take too much."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from httpx import Response

from api.limits import MAX_WAITING_SOLVES
from planner.units import MIB
from tests.integration.api.processes import Server, serving, until
from tests.unit.api.service import CNN6, PLAN

JSON = {"Content-Type": "application/json"}
WORKERS = 2
"""How many solvers a service has."""


def test_a_worker_waits_for_the_first_plan(tmp_path: Path) -> None:
    with serving(tmp_path, "--only", "api") as server:
        warm = until(lambda: server.children("api.solver_worker"), "a warm solver")
        assert len(warm) == 1
        assert server.client.post("/v1/profiles", content=CNN6, headers=JSON).status_code == 201
        assert server.client.post("/v1/plans", json=PLAN).status_code == 201
        assert server.children("api.solver_worker") == warm


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    """Processes that take no step."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _ask(server: Server, pool: ThreadPoolExecutor, first: int, count: int) -> list[Future[Response]]:
    """Requests that were never asked before, all at one time."""
    requests = [{**PLAN, "budget": {"bytes": 400 * MIB + first + index}} for index in range(count)]
    return [pool.submit(server.client.post, "/v1/plans", json=each) for each in requests]


def test_requests_beyond_what_may_wait_are_refused_while_the_service_stays_healthy(tmp_path: Path) -> None:
    room, more = WORKERS + MAX_WAITING_SOLVES, 20
    with serving(tmp_path, "--only", "api") as server, ThreadPoolExecutor(room + more) as pool:
        assert server.client.post("/v1/profiles", content=CNN6, headers=JSON).status_code == 201
        for future in _ask(server, pool, 0, 8):  # so that all solvers are there
            assert future.result().status_code == 201
        solvers = server.children("api.solver_worker")
        assert len(solvers) == WORKERS
        with _stopped(solvers):
            asked = _ask(server, pool, 100, room + more)
            refused = [future.result() for future in islice(as_completed(asked), more)]
            assert server.client.get("/healthz").status_code == 200
        assert {(answer.status_code, answer.headers.get("retry-after")) for answer in refused} == {(503, "2")}
        assert sorted(future.result().status_code for future in asked) == [201] * room + [503] * more
        assert server.children("api.solver_worker") == solvers
