"""A device against a real service: enrolment, and reporting that survives a service that goes away."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from planner.cli.follow import RunEnd, Spool, finish, run_of
from planner.cli.main import main
from planner.cli.reporting import reporting
from planner.client.service import ServiceClient, UnreachableError
from planner.errors import InfeasibleError, InputError, RunError
from planner.profiler import profile
from planner.schema.run_folder import RunFolder
from planner.system.machine import probe
from planner.units import MIB
from tests.integration.api.processes import serving
from tests.unit.api.service import CNN6, PLAN, sample
from tests.unit.profiler import profiles


def test_a_device_enrols_by_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "admin.token"
    with serving(tmp_path / "data", "--only", "api", "--admin-token-file", str(file)) as server:
        admin = {"Authorization": f"Bearer {file.read_text()}"}
        token = server.client.post("/v1/enrolments", json={}, headers=admin).json()["token"]
        command = [sys.executable, "-m", "planner.cli.main", "enroll", server.url, "--name", "bench", "--token", "-"]
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}

        def enrol() -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, input=token, env=environment, capture_output=True, text=True)

        assert enrol().returncode == 0
        again = enrol()
        assert (again.returncode, "Traceback" in again.stderr) == (2, False)  # good once
        devices = server.client.get("/v1/devices", headers=admin).json()["items"]
        assert [device["name"] for device in devices] == ["bench"]
        known = json.loads((tmp_path / "config/neuroflux/servers.json").read_text())["services"][0]
        with ServiceClient(server.url, known["token"]) as client, pytest.raises(InputError, match="no plan"):
            client.create_run("0" * 64, "run", "key")


def test_a_device_stores_what_it_measured_with_the_command_that_the_service_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile, "take_profile", profiles.answer)  # what is measured does not matter here
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    file = tmp_path / "admin.token"
    with serving(tmp_path / "data", "--only", "api", "--admin-token-file", str(file)) as server:
        admin = {"Authorization": f"Bearer {file.read_text()}"}
        token = server.client.post("/v1/enrolments", json={}, headers=admin).json()["token"]
        with ServiceClient(server.url, token) as client:
            here = probe()
            device, own = client.enrol("this one", here, here.cores)
        own_file = tmp_path / "own.token"
        own_file.touch(0o600)
        own_file.write_text(own)
        wanted = {"model": "cnn6", "budget": {"bytes": 1024 * MIB}, "device": device, "training": {"batch": 8}}
        problem = server.client.post("/v1/plans", json=wanted, headers=admin)
        assert problem.status_code == 409
        command = shlex.split(problem.json()["command"])[1:]

        def measure(*more: str) -> tuple[int, str, str]:
            code = main([*command, *more])
            said = capsys.readouterr()
            return code, said.out, said.err

        code, out, said = measure()  # nothing is measured for a service that would not take it
        assert (code, out, "enroll" in said) == (2, "", True)
        own_file.chmod(0o644)
        assert "chmod 600" in measure("--token-file", str(own_file))[2]
        own_file.chmod(0o600)
        code, out, said = measure("--token-file", str(own_file))
        assert code == 0, said
        assert server.client.post("/v1/plans", json=wanted, headers=admin).status_code == 201


def test_a_run_is_reported_whole_although_the_service_was_away(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    samples = [sample(number) for number in range(1200)]
    lines = [json.dumps({name: value for name, value in one.items() if name != "sequence"}) for one in samples]
    options = ("--only", "api")
    with serving(tmp_path / "data", *options) as server:
        server.client.post("/v1/profiles", content=CNN6, headers={"Content-Type": "application/json"})
        with ServiceClient(server.url) as client:
            plan = client.make_plan(PLAN)
            assert plan is not None
            with pytest.raises(InfeasibleError) as caught:
                client.make_plan({**PLAN, "budget": {"bytes": 1}})
            assert caught.value.minimum_bytes > 1
            (out / "plan.json").write_text(json.dumps(server.client.get(f"/v1/plans/{plan.id}").json()))
            spool = Spool(out / "memory.jsonl")
            (out / "memory.jsonl").write_text("\n".join(lines[:600]) + "\n" + lines[600][:20])  # half a line at the end
            finish(client, RunFolder(out), spool)
            run = run_of(client, RunFolder(out))
        url = server.url
        server.kill()
    with ServiceClient(url, patience_seconds=0.1) as client, pytest.raises(UnreachableError):
        finish(client, RunFolder(out), spool)
    (out / "memory.jsonl").write_text("\n".join(lines) + "\n")
    with serving(tmp_path / "data", *options, "--port", url.rpartition(":")[2]) as server:
        with ServiceClient(server.url) as client:
            finish(client, RunFolder(out), spool)
            assert run_of(client, RunFolder(out)) == run
            finish(client, RunFolder(out), spool, RunEnd("failed", "the loss is NaN", plan.id))
            found = server.client.get(f"/v1/runs/{run}").json()
            assert (found["state"], found["reason"]) == ("failed", "the loss is NaN")
        chart = server.client.get(f"/v1/runs/{run}/samples", params={"points": 5000}).json()
        assert chart["samples"] == samples
        assert len(server.client.get("/v1/runs").json()["items"]) == 1


def test_a_run_that_is_refused_reports_nothing_of_the_run_that_has_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with serving(tmp_path / "data", "--only", "api") as server:
        server.client.post("/v1/profiles", content=CNN6, headers={"Content-Type": "application/json"})
        plan = server.client.post("/v1/plans", json=PLAN)
        (out / "plan.json").write_text(plan.text)
        (out / "memory.jsonl").write_text(
            json.dumps({name: sample(0)[name] for name in sample(0) if name != "sequence"})
        )
        address = server.url + plan.headers["location"]
        command = [sys.executable, "-m", "planner.cli.main", "run", address, "--data", "sample", "--out", str(out)]
        refused = subprocess.run([*command, "--report-to", server.url], capture_output=True, text=True)
        assert (refused.returncode, "holds a run already" in refused.stderr) == (2, True)
        command[-3:] = [str(tmp_path / "no such data"), "--out", str(tmp_path / "other")]
        assert subprocess.run([*command, "--report-to", server.url], capture_output=True).returncode == 2
        assert server.client.get("/v1/runs").json()["items"] == []
        plan_id = plan.json()["id"]
        for error in (RunError("it burst"), KeyboardInterrupt()):
            with pytest.raises(type(error)), reporting(server.url, None, tmp_path / "before its folder", plan_id):
                raise error
        ended = server.client.get("/v1/runs").json()["items"]
        assert [(run["name"], run["state"], run["reason"]) for run in ended] == [
            ("before its folder", "interrupted", "it was interrupted"),
            ("before its folder", "failed", "it burst"),
        ]
        assert sorted(file.name for file in out.iterdir() if not file.name.startswith(".")) == [
            "memory.jsonl",
            "plan.json",
        ]
