"""The promise on this board: plans at their least budgets and hardly above, each run in a memory group of exactly that.

`python3 promise.py PROFILE DATA` prints a line of JSON for each run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.judge import Watch, within
from planner.schema.codec import read_document, to_json
from planner.schema.common import usual_optimizer
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.request import Budget, Request, Strategy, Training
from planner.schema.run_folder import RunFolder
from planner.solver.plan import least_memory, make_plan
from tests.memory_group import MemoryGroup

BATCH = 8
SAMPLES = 128
CASES: tuple[tuple[Strategy, int], ...] = (
    ("auto", 0),
    ("auto", 1),
    ("auto", 20),
    ("neuroflux", 0),
    ("neuroflux", 5),
    ("backprop", 0),
)
"""Strategies, and thousandths of the least budget on top of it."""


def run(profile: Profile, data: str, strategy: Strategy, room: int, folder: Path) -> dict[str, Any]:
    """Plan, run in a group, and say what came of it."""
    training = Training(BATCH, 1, SAMPLES, usual_optimizer("sgd"))
    least = least_memory(profile, Request(Budget(2**40, "process"), training, strategy=strategy))
    budget = least + least * room // 1000
    plan = make_plan(profile, Request(Budget(budget, "process"), training, strategy=strategy))
    folder.mkdir()
    (folder / "plan.json").write_text(to_json(plan))
    command = ["neuroflux", "run", str(folder / "plan.json"), "--data", data, "--quiet", "--out", str(folder / "out")]
    with MemoryGroup(budget) as group, Watch(group) as watch:
        command = within(group, [*command, "--max-steps", "3", "--checkpoint-seconds", "0"])
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        kills = group.oom_kills()
    found: dict[str, Any] = {
        "strategy": strategy,
        "room": room / 1000,
        "budget_bytes": budget,
        "predicted_bytes": plan.predicted.peak_bytes,
        "peak_bytes": watch.peak_bytes,
        "code": done.returncode,
        "kills": kills,
        "blocks": len(plan.blocks),
        "said": done.stderr.strip()[-500:],
    }
    if done.returncode == 0:
        found["deviations"] = read_document(RunFolder(folder / "out").report, Report).deviations
    return found


if __name__ == "__main__":
    for number, (strategy, room) in enumerate(CASES):
        result = run(read_document(sys.argv[1], Profile), sys.argv[2], strategy, room, Path(f"promise-{number}"))
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
