"""On a GPU, from profile to trained network. None was at hand yet: `tests.standin` is what stands in for one here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.schema.codec import decode, parse_json, read_document
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import least_memory
from planner.system.machine import probe
from planner.units import MIB
from tests.fault.support import weights

BATCH = 64
Command = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(probe().gpu_name is None, reason="no GPU on this machine")]


def _said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_network_trains_within_its_budget_of_the_gpu_and_twice_to_the_same_weights(
    neuroflux: Command, tmp_path: Path
) -> None:
    file = tmp_path / "profile.json"
    training = ("--model", "cnn6", "--data", "sample", "--batch", BATCH, "--device", "cuda")
    _said(neuroflux("profile", *training, "-o", file))
    profile = read_document(file, Profile)
    assert profile.device.kind == "cuda"
    # Hardly above the least that any plan needs: several blocks, caches between them.
    anything = Request(Budget(2**40, "process"), Training(BATCH, 1, 4000, profile.optimizer))
    budget = least_memory(profile, anything) + 4 * MIB
    wanted = ("--profile", file, "--epochs", 1, "--json", "-o", tmp_path / "plan.json", "--budget", budget)
    plan = decode(Plan, parse_json(_said(neuroflux("plan", *training, *wanted))))
    found = []
    for name in ("first", "second"):
        run = ("run", tmp_path / "plan.json", "--data", "sample", "--out", tmp_path / name, "--max-steps", 20, "--json")
        report = decode(Report, parse_json(_said(neuroflux(*run))))
        assert report.within_budget and report.deviations == ()
        assert report.supervisor_peak_bytes == 0
        found.append(weights(tmp_path / name, plan))
    assert found[0] == found[1]
