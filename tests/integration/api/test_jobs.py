"""Jobs: measured in real workers, cancelled, killed once and twice; several processes on one PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from api.jobs import worker
from api.routes.models import EXAMPLE
from api.store import job_rows
from api.store.database import Database
from api.store.tables import jobs
from planner.schema.codec import content_id
from tests.integration.api.processes import Server, serving, until

JOB = {"kind": "profile", "model": EXAMPLE, "batch": 2, "max_seconds": 120}


def _state(server: Server, job: str, *wanted: str) -> dict[str, Any] | None:
    found: dict[str, Any] = server.client.get(f"/v1/jobs/{job}").json()
    return found if found["state"] in wanted else None


def _ended(server: Server, job: str) -> dict[str, Any]:
    return until(lambda: _state(server, job, "done", "failed", "cancelled"), f"the end of job {job}", 600)


@pytest.mark.long
def test_a_model_is_measured_on_the_server_and_then_planned_for(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        until(lambda: server.client.get("/v1/devices/server").status_code == 200, "the worker's registration")
        request = {"model": EXAMPLE, "budget": {"bytes": 2**30}, "training": {"batch": 2}}
        first = server.client.post("/v1/plans", json=request)
        assert first.status_code == 202
        job = first.headers["location"].rpartition("/")[2]
        done = _ended(server, job)
        assert done["state"] == "done", done
        assert done["attempts"] == 1
        plan = server.client.post("/v1/plans", json=request)
        assert plan.status_code == 201, plan.text
        assert plan.json()["profile_id"] == done["profile_id"]
        _run_and_report(server, plan.json()["id"], tmp_path / "run")


def _run_and_report(server: Server, plan_id: str, out: Path) -> None:
    """The device's side: the plan is fetched, trained, and reported while that goes on."""
    command = [sys.executable, "-m", "planner.cli.main", "run", f"{server.url}/v1/plans/{plan_id}", "--data", "sample"]
    options = ["--max-steps", "5", "--out", str(out), "--report-to", server.url, "--quiet"]
    found = subprocess.run([*command, *options], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    (run,) = server.client.get("/v1/runs").json()["items"]
    whole = server.client.get(f"/v1/runs/{run['id']}").json()
    assert (whole["state"], whole["plan_id"]) == ("finished", plan_id)
    assert whole["report"] == json.loads((out / "report.json").read_text())
    lines = [json.loads(line) for line in (out / "memory.jsonl").read_text().splitlines()]
    samples = server.client.get(f"/v1/runs/{run['id']}/samples").json()["samples"]
    assert samples == [{"sequence": number, **line} for number, line in enumerate(lines)]


def test_a_running_job_is_cancelled_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    with serving(tmp_path / "data", environment={"TMPDIR": str(folder)}) as server:
        job = server.client.post("/v1/jobs", json=JOB).json()["id"]
        (worker,) = until(lambda: server.children("api.jobs.worker"), "the worker")
        deepest = until(lambda: _below(worker, 3), "a child of the process that measures", 300)
        assert [path.name for path in folder.iterdir()] == [next(folder.glob("neuroflux-job-*")).name]
        assert server.client.delete(f"/v1/jobs/{job}").status_code == 202
        assert _ended(server, job)["state"] == "cancelled"
        assert select.select([deepest], [], [], 30)[0], "a process of the measurement goes on"
        os.close(deepest)
        until(lambda: not _below(worker, 1), "the end of the measuring process")
        until(lambda: not list(folder.iterdir()), "the end of its folder")
        assert server.client.delete(f"/v1/jobs/{job}").status_code == 202


def _below(process: int, floors: int) -> int | None:
    """A descriptor of a process so many generations below another, where there is one."""
    found = [process]
    for _ in range(floors):
        tasks = (path for pid in found for path in Path(f"/proc/{pid}/task").glob("*/children"))
        with contextlib.suppress(OSError):
            found = [int(pid) for path in tasks for pid in path.read_text().split()]
    with contextlib.suppress(ProcessLookupError):
        return os.pidfd_open(found[0]) if found else None
    return None


def test_a_stopped_worker_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    with serving(tmp_path / "data", environment={"TMPDIR": str(folder)}) as server:
        job = server.client.post("/v1/jobs", json=JOB).json()["id"]
        until(lambda: any(folder.glob("neuroflux-job-*/request.json")), "the job's folder")
        (stopped,) = server.children("api.jobs.worker")
        os.kill(stopped, signal.SIGTERM)
        until(lambda: server.children("api.jobs.worker") not in ([], [stopped]), "another worker")
        assert not list(folder.glob("neuroflux-job-*"))
        found = _state(server, job, "running", "queued")
        assert found is not None and found["attempts"] == 1


@pytest.mark.long
def test_a_killed_worker_is_replaced_and_its_job_retried_once_then_failed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job = server.client.post("/v1/jobs", json=JOB).json()["id"]
        for attempt in (1, 2):
            until(lambda: _attempt(server, job, attempt), f"attempt {attempt}")  # noqa: B023  # called at once
            (worker,) = server.children("api.jobs.worker")
            os.kill(worker, signal.SIGKILL)
        failed = _ended(server, job)
        assert (failed["state"], failed["attempts"]) == ("failed", 2)
        assert "killed twice" in failed["error"]


def _attempt(server: Server, job: str, attempt: int) -> bool:
    found = _state(server, job, "running")
    return found is not None and found["attempts"] == attempt


@pytest.mark.long
def test_three_apis_and_two_workers_share_one_postgres(postgres_url: str, tmp_path: Path) -> None:
    options = ("--db", postgres_url)
    with ExitStack() as stack:
        apis = [stack.enter_context(serving(tmp_path / f"api{n}", "--only", "api", *options)) for n in range(3)]
        for n in range(2):
            stack.enter_context(serving(tmp_path / f"worker{n}", "--only", "worker", *options))
        made = [
            apis[n % 3].client.post("/v1/jobs", json={**JOB, "batch": batch}).json()["id"]
            for n, batch in enumerate((1, 2, 3, 4))
        ]
        assert len(set(made)) == 4
        again = apis[1].client.post("/v1/jobs", json={**JOB, "batch": 4}).json()["id"]
        assert again == made[-1]
        found = [_ended(apis[(n + 1) % 3], job) for n, job in enumerate(made)]
        assert [(one["state"], one["attempts"]) for one in found] == [("done", 1)] * 4
        database = Database(postgres_url)
        with database.read() as connection:
            workers = {row.worker for row in connection.execute(jobs.select())}
        database.close()
        assert len(workers) == 2


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_lost_job_is_queued_again_once(database_url: str, cancelled: bool) -> None:
    database = Database(database_url)
    _queue(database, "j")
    states = []
    for _ in range(3):
        if job_rows.claim_next(database, "w") is None:
            break
        assert job_rows.claim_next(database, "other") is None  # one worker has it
        if cancelled:
            job_rows.cancel(database, "j")
        with database.write() as connection:
            connection.execute(jobs.update().values(lease_ms=1))
        job_rows.reclaim(database)
        found = job_rows.one(database, "j")
        assert found is not None
        states.append(found["state"])
    assert states == (["cancelled"] if cancelled else ["queued", "failed"])
    database.close()


def _queue(database: Database, identity: str) -> None:
    request = {"model": {"name": identity}, "batch": 1}
    with database.write() as connection:
        job_rows.create(connection, database, identity, content_id(request), json.dumps(request).encode())


def test_jobs_are_taken_in_their_order_and_each_by_one_of_many_workers(database_url: str) -> None:
    database = Database(database_url)
    names = [f"job {number}" for number in range(12)]
    for name in names:
        _queue(database, name)
    first = job_rows.claim_next(database, "first")
    assert first is not None and (first.id, first.request["model"]["name"]) == (names[0], names[0])
    assert job_rows.cancel(database, names[1])
    with ThreadPoolExecutor(4) as workers:
        taken = list(workers.map(lambda number: job_rows.claim_next(database, f"w{number}"), range(len(names) - 2)))
    assert sorted(claim.id for claim in taken if claim is not None) == sorted(names[2:])
    assert job_rows.claim_next(database, "late") is None
    database.close()


def test_a_worker_survives_a_database_that_fails_for_a_while() -> None:
    steps: list[str] = []

    def step() -> bool:
        steps.append("step")
        if len(steps) == 1:
            raise OperationalError("SELECT", {}, Exception("the database restarts"))
        if len(steps) < 4:
            return True
        raise SystemExit(0)  # as a signal does

    with pytest.raises(SystemExit):
        worker.repeat(step, 0.0)
    assert len(steps) == 4
