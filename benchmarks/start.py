"""What starting torch takes in a training child, plainly and leanly: `python -m benchmarks.start [ROUNDS]`.

Each round starts a child each way, one after the other, as a run does: torch, its first tiny step, and what a run
imports beside it. Bytes are the kernel's, of that moment (/proc/PID/status, smaps_rollup); seconds are the processor's
for the child's whole life (rusage). Prints medians and ranges as Markdown.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import get_args

from planner.schema.common import TorchStart
from planner.system.pages import without_huge_pages
from planner.training.lean import torch_version
from planner.units import MIB

ROUNDS = 7

_CHILD = """
import json, sys
from pathlib import Path
from planner.runner.train import child
from planner.training.runtime import start_torch
started = start_torch("tight", 1, start=sys.argv[1])
import planner.runner.train.session
from planner.system.proc import read_memory
found = read_memory()
private = sum(int(line.split()[1]) * 1024 for line in Path("/proc/self/smaps_rollup").read_text().splitlines()
              if line.startswith("Private_"))
modules = sum(name == "torch" or name.startswith("torch.") for name in sys.modules)
print(json.dumps([started.start, started.baseline_bytes, found.anonymous_bytes, private, started.peak_bytes, modules]))
"""


@dataclass(frozen=True)
class Found:
    """One child."""

    baseline_bytes: int
    """Resident after the first tiny step."""
    anonymous_bytes: int
    """Of what is resident when a run would begin: backed by no file."""
    private_bytes: int
    """Of what is resident then: this process's alone."""
    peak_bytes: int
    """Highest until the end of the tiny step."""
    modules: int
    """Of torch, in `sys.modules`."""
    seconds: float
    """Of the processor."""


def started(start: TorchStart) -> Found:
    """Start one child. Raises SystemExit where it started another way than it was asked to."""
    with without_huge_pages():
        child = subprocess.Popen([sys.executable, "-c", _CHILD, start], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"a child ended with status {status}")
    used, *figures = json.loads(text)
    if used != start:
        raise SystemExit(f"torch {torch_version()} cannot be started {start} here")
    return Found(*figures, usage.ru_utime + usage.ru_stime)


def table(found: dict[TorchStart, list[Found]]) -> str:
    """Medians, with the least and the most in brackets."""
    lines = ["| | " + " | ".join(found) + " |", "| --- | " + " | ".join("---:" for _ in found) + " |"]
    kinds = {
        "resident after the tiny step, MiB": lambda one: one.baseline_bytes / MIB,
        "private, MiB": lambda one: one.private_bytes / MIB,
        "anonymous, MiB": lambda one: one.anonymous_bytes / MIB,
        "peak while starting, MiB": lambda one: one.peak_bytes / MIB,
        "processor seconds": lambda one: one.seconds,
        "modules of torch": lambda one: float(one.modules),
    }
    for name, value in kinds.items():
        cells = []
        for children in found.values():
            values = [value(child) for child in children]
            digits = 2 if "seconds" in name else 0 if "modules" in name else 1
            low, middle, high = (f"{one:.{digits}f}" for one in (min(values), statistics.median(values), max(values)))
            cells.append(middle if low == high else f"{middle} ({low}–{high})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(rounds: int) -> None:
    """Measure and print."""
    ways: tuple[TorchStart, ...] = get_args(TorchStart)
    for way in ways:
        started(way)  # so that none finds files in the page cache that the others did not
    found: dict[TorchStart, list[Found]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways if number % 2 else reversed(ways):
            found[way].append(started(way))
    print(f"torch {torch_version()}, Python {sys.version.split()[0]}, {rounds} rounds; median (least–most).\n")
    print(table(found))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
