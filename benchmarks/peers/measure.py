"""One run, judged from outside: inside a memory group, its steps told by lines of a file, clocks read elsewhere.

The processor time of a process is read from its own clock, which has all of its threads, those that ended too.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.judge import Watch, within
from planner.system.proc import read_memory
from tests.memory_group import MemoryGroup

STEPS = 3
"""Of each run, or of each block of one; the first warms up."""
SECONDS = 900.0
"""After which a run is given up."""
AMPLE_BYTES = 16 * 2**30
"""A limit that nobody meets."""
_POLL_SECONDS = 0.002
_WATCH_SECONDS = 0.02
"""The kernel keeps each process's peak, so that a sum over them is all that could be missed."""
_CPUCLOCK_SCHED = 2


@dataclass(frozen=True)
class Mark:
    """A line, and what the clocks said when it was seen."""

    line: str
    """As it was written."""
    cpu_seconds: float
    """Of all processes of the group."""
    wall_seconds: float
    """Since the run began."""
    resident_bytes: int
    """Of all processes of the group."""


@dataclass(frozen=True)
class Judged:
    """What a run came to."""

    exit_code: int | None
    """Of the command; None: it took too long and was ended."""
    kills: int
    """By the kernel, in the group."""
    peak_bytes: int
    """Highest sum of VmHWM."""
    marks: tuple[Mark, ...]
    """Its lines."""
    said: str
    """The last of its standard error."""

    @property
    def is_right(self) -> bool:
        """Whether it went to its end, and nothing was killed."""
        return self.exit_code == 0 and self.kills == 0


def judge(command: Sequence[str], limit_bytes: int, lines: Path, threads: int, more: Mapping[str, str] = {}) -> Judged:
    """Run `command` below a limit.

    Args:
        command: what to run.
        limit_bytes: of the group.
        lines: the file whose lines are marked: made by the command, or its standard output where it is there before.
        threads: that torch and its libraries compute with where nothing else is said.
        more: environment.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **more}
    printed = lines if lines.exists() else Path(os.devnull)
    with (
        tempfile.TemporaryFile() as stderr,
        printed.open("wb") as stdout,
        MemoryGroup(limit_bytes) as group,
        Watch(group, _WATCH_SECONDS) as watch,
    ):
        started = time.monotonic()
        child = subprocess.Popen(within(group, list(command)), stdout=stdout, stderr=stderr, env=environment)
        marks, exit_code = _follow(child, group, lines, started + SECONDS)
        kills = group.oom_kills()
        stderr.seek(0)
        said = stderr.read()[-2000:].decode(errors="replace").strip()
    child.wait()  # the group ended it where it took too long
    return Judged(exit_code, kills, watch.peak_bytes, tuple(marks), said)


def _follow(
    child: subprocess.Popen[bytes], group: MemoryGroup, lines: Path, end: float
) -> tuple[list[Mark], int | None]:
    """Mark lines until the command ends."""
    marks: list[Mark] = []
    seen: dict[int, float] = {}
    procs, position, started = group.path / "cgroup.procs", 0, time.monotonic()
    while True:
        ended = child.poll()
        size = lines.stat().st_size if lines.exists() else 0
        if size > position:
            pids = [int(word) for word in procs.read_text().split()]
            cpu, wall, resident = _processor_seconds(pids, seen), time.monotonic() - started, _resident(pids)
            with lines.open("rb") as file:
                file.seek(position)
                whole, newline, _ = file.read().rpartition(b"\n")
            position += len(whole) + len(newline)
            if newline and pids:  # the clocks of what has ended are gone
                marks += [Mark(line, cpu, wall, resident) for line in whole.decode().split("\n")]
        if ended is not None:
            return marks, ended
        if time.monotonic() > end:
            return marks, None
        time.sleep(_POLL_SECONDS)


def _processor_seconds(pids: Iterable[int], seen: dict[int, float]) -> float:
    """Of these processes and of those that ended since, as far as they were seen."""
    for pid in pids:
        try:
            seen[pid] = time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
        except OSError:
            continue  # it ended since it was listed
    return sum(seen.values())


def _resident(pids: Iterable[int]) -> int:
    total = 0
    for pid in pids:
        try:
            total += read_memory(pid).resident_bytes
        except ProcessLookupError:
            continue
    return total


def step_seconds(groups: Iterable[Sequence[Mark]]) -> tuple[float, float]:
    """Processor and wall seconds of one step through all groups of marks, the first of each left out: it warms up.

    Raises ValueError where a group has fewer than two marks.
    """
    cpu = wall = 0.0
    for marks in groups:
        if len(marks) < 2:
            raise ValueError(f"{len(marks)} steps were taken; two are needed to time one")
        steps = len(list(pairwise(marks)))
        cpu += (marks[-1].cpu_seconds - marks[0].cpu_seconds) / steps
        wall += (marks[-1].wall_seconds - marks[0].wall_seconds) / steps
    return cpu, wall
