"""A process that has started torch is lean: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from planner.units import MIB

_START = """
import json, sys
from planner.training.runtime import start_torch
started = start_torch("tight", 1)
import planner.runner.train.train, planner.runner.train.post_training
heavy = [name for name in ("numpy", "torch._dynamo", "pydantic", "matplotlib", "fvcore")
         if sys.modules.get(name) is not None]
print(json.dumps([started.baseline_bytes, started.peak_bytes, heavy]))
"""

_OBVIOUS = """
import json, torch
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
torch.nn.functional.cross_entropy(model(torch.ones(4, 3, 8, 8)).mean((2, 3)), torch.zeros(4, dtype=int)).backward()
optimizer.step()
from planner.system.proc import read_memory
print(json.dumps(read_memory().resident_bytes))
"""


def _run(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(torch.version.cuda is not None, reason="a CUDA build of torch takes 150 MiB more on its own")
def test_after_the_first_tiny_step_at_most_260_mib_are_resident_and_nothing_heavy_is_imported() -> None:
    baseline, peak, heavy = _run(_START)
    assert heavy == []
    assert baseline <= 260 * MIB
    assert baseline <= peak <= 260 * MIB


def test_the_obvious_script_takes_more() -> None:
    baseline, _, _ = _run(_START)
    obvious = _run(_OBVIOUS)
    assert obvious > baseline + 40 * MIB


@pytest.mark.parametrize("start", ["plain", "lean"])
def test_torch_says_nothing_about_the_missing_numpy(start: str) -> None:
    code = _START.replace("1)", f"1, start={start!r})", 1)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
