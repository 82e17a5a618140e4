"""Computing in bfloat16, from profile to trained network: predicted as it turns out, and in fewer bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.errors import InputError
from planner.model.zoo import from_zoo
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.system.machine import check_dtype, probe
from planner.units import MIB
from tests.heads import conv_heads
from tests.integration.conftest import OPTIMIZER

BATCH = 64


def _lacks_bfloat16() -> bool:
    try:
        check_dtype(probe(), "bfloat16")
    except InputError:
        return True
    return False


pytestmark = pytest.mark.skipif(_lacks_bfloat16(), reason="this processor does not compute in bfloat16")


@pytest.mark.long
def test_a_network_trains_in_bfloat16_as_predicted_and_in_fewer_bytes(
    neuroflux: Callable[..., subprocess.CompletedProcess[str]], profile_of: Callable[[str, int], Path], tmp_path: Path
) -> None:
    request = ProfileRequest(from_zoo("cnn6", (1, 28, 28), 10), OPTIMIZER, BATCH, 2, "bfloat16", heads=conv_heads(32))
    files = {"float32": profile_of("cnn6", BATCH), "bfloat16": tmp_path / "profile.json"}
    files["bfloat16"].write_text(to_json(take_profile(request, lambda done, total, name: None)))
    least = {}
    for dtype, file in files.items():
        words = ("--model", "cnn6", "--data", "sample", "--batch", BATCH, "--epochs", 1, "--dtype", dtype)
        wanted = (
            "--strategy",
            "backprop",
            "--allocator",
            "tight",
            "--profile",
            file,
            "-o",
            tmp_path / f"{dtype}.json",
            "--json",
        )
        done = neuroflux("plan", *words, *wanted, "--budget", "2GiB")
        assert done.returncode == 0, done.stderr
        plan = decode(Plan, parse_json(done.stdout))
        # All of the batch at one time, so that activations are most of what is trained with.
        least[dtype] = plan.predicted.peak_bytes - plan.baseline_bytes
        assert plan.blocks[0].micro_batch == BATCH
        out = tmp_path / f"out-{dtype}"
        done = neuroflux(
            "run", tmp_path / f"{dtype}.json", "--data", "sample", "--out", out, "--max-steps", 6, "--json"
        )
        assert done.returncode == 0, done.stderr
        report = decode(Report, parse_json(done.stdout))
        assert report.within_budget and report.deviations == ()
        (block,) = report.blocks
        assert -MIB <= block.predicted_peak_bytes - block.measured_peak_bytes <= 0.06 * block.measured_peak_bytes
    assert least["bfloat16"] < 0.85 * least["float32"]
    foreign = neuroflux(
        "plan", "--model", "cnn6", "--data", "sample", "--profile", files["bfloat16"], "--budget", "2GiB"
    )
    assert foreign.returncode == 2
    assert "dtype is float32, but the profile measured bfloat16" in foreign.stderr
