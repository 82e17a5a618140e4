"""A run whose tensors lie on another device than the processor ends as one by the processor, to the bit.

The device is a stand-in (`tests.standin`): it shows that everything is where it has to be, not what a GPU does.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.system.support import run_child

_RUNS = """
import json, sys, traceback
from dataclasses import replace
from pathlib import Path
from torch.nn import functional
from tests.standin import install
install()
from planner.runner.storage import cache; from planner.schema.run_folder import RunFolder
from planner.runner.storage.cache import shard_path
from planner.runner.protocol.events import BlockStarted, Deviation, Step
from planner.schema.common import OptimizerConfig
from tests.fault import support
from tests.unit.runner.test_methods import with_block
from planner.runner.train import session; from planner.training import runtime
cache._SHARD_BYTES = 400_000
session.calibration_seconds, runtime.trim_clean_pages = lambda device: 1.0, lambda: 0  # nobody measures here
convolved = set()
convolve = functional.conv2d
def watched(inputs, *more, **named):
    convolved.add(inputs.device.type)
    return convolve(inputs, *more, **named)
functional.conv2d = watched

def make(case):
    if case == "frozen":
        return support.frozen_plan()
    if case == "recomputed input":
        return support.frozen_plan("recompute")
    plan = support.small_plan(OptimizerConfig("adamw", 0.01, weight_decay=0.1) if case == "adamw" else None,
                              "uint8" if case == "uint8" else "float32")
    if case == "bfloat16":
        plan = replace(plan, training=replace(plan.training, dtype="bfloat16"))
    if case == "methods":
        segment = plan.blocks[0].segments[0]
        segments = (replace(segment, recompute=(segment.units,)),)
        plan = with_block(plan, 0, segments=segments, optimizer_in_backward=True)
    return plan

def compare(case, out, told, stopped):
    def stopping(event):
        told.append(event)
        if case == "resumed" and isinstance(event, Step) and (event.block, event.step) == (1, 1) and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        if case == "broken shard" and isinstance(event, BlockStarted) and (event.block, event.phase) == (1, "prepare"):
            if not stopped:
                stopped.append(True)
                shard = shard_path(RunFolder(out / "there").block_cache(1, "train"), 0)
                content = bytearray(shard.read_bytes())
                content[len(content) // 2] ^= 1
                shard.write_bytes(content)

    plan = make(case)
    there = replace(plan, device=replace(plan.device, kind="cuda"))
    support.session(plan, out / "here", steps=2)
    convolved.clear()
    try:
        support.session(there, out / "there", stopping, steps=2)
    except KeyboardInterrupt:
        support.session(there, out / "there", steps=2)
    here, there = (support.weights(out / name, plan) for name in ("here", "there"))
    exits = [[(path.name, path.read_bytes()) for path in sorted((out / name / "weights").glob("exits*"))]
             for name in ("here", "there")]
    return {
        "equal": here == there,
        "tensors": len(here),
        "exits": exits[0] == exits[1],
        "deviations": len([event for event in told if isinstance(event, Deviation)]),
        "hurt": bool(stopped),
        "convolved": sorted(convolved),
    }

found = {}
for case in sys.argv[2:]:
    try:
        found[case] = compare(case, Path(sys.argv[1], case), [], [])
    except Exception:
        found[case] = traceback.format_exc()
print(json.dumps(found))
"""
CASES = ["plain", "adamw", "uint8", "bfloat16", "methods", "frozen", "recomputed input", "resumed", "broken shard"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of every case, all in one child; the traceback where it came to nothing."""
    found: dict[str, Any] = run_child(_RUNS, str(tmp_path_factory.mktemp("device")), *CASES, patience_seconds=600)
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_run_on_another_device_ends_in_the_same_weights(case: str, compared: dict[str, Any]) -> None:
    found = compared[case]
    assert isinstance(found, dict), found
    tensors = found["tensors"]
    assert tensors > 20
    assert found == {
        "equal": True,
        "tensors": tensors,
        "exits": True,
        "deviations": int(case == "broken shard"),
        "hurt": case in ("resumed", "broken shard"),
        "convolved": ["standin"],
    }
