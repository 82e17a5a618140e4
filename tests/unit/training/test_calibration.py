"""The calibration kernel: what it measures, and that a process is the same after it as before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from planner.training import calibration
from planner.training.calibration import calibration_seconds
from planner.units import KIB, MIB

_IN_A_CHILD = """
import json, sys
from planner.training.runtime import release_memory, start_torch
started = start_torch("tight", 2)
import planner.runner.train.train, planner.runner.train.post_training
from planner.training.calibration import calibration_seconds
from planner.system.proc import read_memory
release_memory()
before = read_memory()
calibration_seconds()
peak = read_memory().peak_bytes
release_memory()
after = read_memory()
calibration_seconds()
release_memory()
again = read_memory()
heavy = [name for name in ("numpy", "torch._dynamo", "sympy") if sys.modules.get(name) is not None]
print(json.dumps({
    "start_peak": started.peak_bytes, "peak": peak, "heavy": heavy,
    "kernels": after.anonymous_bytes - before.anonymous_bytes, "growth": again.anonymous_bytes - after.anonymous_bytes,
}))
"""


def test_the_median_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves only within the kernel: 5 s, then 3 s, 9 s, 4 s, 4.5 s; the warm-up's 100 s play no part."""
    now = 0.0
    lengths = iter([5.0, 3.0, 9.0, 4.0, 4.5])

    def warm_up(*leaves: torch.Tensor) -> None:
        nonlocal now
        now += 100.0

    def step(*leaves: torch.Tensor) -> None:
        nonlocal now
        now += next(lengths)

    monkeypatch.setattr(calibration, "_warm_up", warm_up)
    monkeypatch.setattr(calibration, "_step", step)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    assert calibration_seconds() == pytest.approx(4.5, abs=0.01)  # what reading the clock takes is left out


def test_it_is_a_time() -> None:
    assert 0 < calibration_seconds() < 60


def test_it_holds_less_than_2_mib_and_keeps_no_tensor() -> None:
    with torch.profiler.profile(profile_memory=True) as profiler:
        calibration_seconds()
    result = profiler.profiler
    assert result is not None and result.kineto_results is not None
    level = peak = 0
    for event in result.kineto_results.events():
        if event.name() == "[memory]":
            level += event.nbytes()
            peak = max(peak, level)
    # Images, weights, their gradients: 2 x (128 + 144) KiB, and the matrix product's side.
    assert 544 * KIB < peak < 2 * MIB
    assert level == 0


def test_no_random_stream_moves() -> None:
    before = torch.random.get_rng_state()
    calibration_seconds()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_training_child_stays_below_its_start_and_keeps_nothing_but_kernels() -> None:
    done = subprocess.run([sys.executable, "-c", _IN_A_CHILD], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["heavy"] == []
    assert found["peak"] <= found["start_peak"]
    assert found["kernels"] < MIB
    assert found["growth"] < 256 * KIB
