"""A run whose tensors lie on another device than the processor ends as one by the processor, to the bit.

The device is a stand-in (`tests.standin`): it shows that everything is where it has to be, not what a GPU does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.system.support import run_child

_RUNS = """
import json, sys
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
cache._SHARD_BYTES = 400_000
out, case = Path(sys.argv[1]), sys.argv[2]

def make():
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

told = []
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

stopped = []
plan = make()
there = replace(plan, device=replace(plan.device, kind="cuda"))
support.session(plan, out / "here", steps=2)

convolved = set()
convolve = functional.conv2d
def watched(inputs, *more, **named):
    convolved.add(inputs.device.type)
    return convolve(inputs, *more, **named)
functional.conv2d = watched
try:
    support.session(there, out / "there", stopping, steps=2)
except KeyboardInterrupt:
    support.session(there, out / "there", steps=2)
here, there = (support.weights(out / name, plan) for name in ("here", "there"))
exits = [[(path.name, path.read_bytes().hex()[-4000:]) for path in sorted((out / name / "weights").glob("exits*"))]
         for name in ("here", "there")]
print(json.dumps({
    "equal": here == there,
    "tensors": len(here),
    "exits": exits[0] == exits[1],
    "deviations": len([event for event in told if isinstance(event, Deviation)]),
    "hurt": bool(stopped),
    "convolved": sorted(convolved),
}))
"""


@pytest.mark.parametrize(
    "case",
    ["plain", "adamw", "uint8", "bfloat16", "methods", "frozen", "recomputed input", "resumed", "broken shard"],
)
def test_a_run_on_another_device_ends_in_the_same_weights(case: str, tmp_path: Path) -> None:
    found = run_child(_RUNS, str(tmp_path), case)
    assert found.pop("tensors") > 20
    hurt = case in ("resumed", "broken shard")
    assert found == {
        "equal": True,
        "exits": True,
        "deviations": int(case == "broken shard"),
        "hurt": hurt,
        "convolved": ["standin"],
    }
