"""Runs among trouble: `python -m benchmarks.surroundings [FILE]`; then `… table [FILE]`.

20 runs of cnn6 inside a memory group: on pictures of 4000×3000 (PNG, JPEG, progressive JPEG, WebP), into an output
folder on tmpfs, and below a limit that is less than the budget. The group's hard limit is the plan's budget, but for
the last kind, where it is less. A run is right if the kernel killed nothing, if what it had resident and what it stored
in memory never passed the budget together, and if it ended with 0 or was refused, with the reason, before it trained.
Needs a memory group (usually root), Pillow, and a tmpfs on /dev/shm.

FILE (default benchmarks/results/surroundings.jsonl) gets a line for each run as it ends; those that are there are not
done again. `table` prints Markdown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Literal

import numpy as np
from PIL import Image

from benchmarks.judge import Watch, summed_peaks, within
from planner.cli.measure import measured_profile
from planner.model.zoo import from_zoo
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import usual_optimizer
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Strategy, Training
from planner.schema.run_folder import RunFolder
from planner.solver.plan import least_memory, make_plan
from planner.system.storage import memory_kind
from planner.units import MIB
from tests.memory_group import MemoryGroup

RESULTS = Path("benchmarks/results/surroundings.jsonl")
SHARED = Path("/dev/shm")
BATCH = 32
CLASSES = 4
SIDE = 32
SAMPLES = 2000
"""Of the data whose caches are worth counting."""
TEST_SAMPLES = 200
PICTURES = 10
"""In each class."""
LARGE = (3000, 4000)
"""Height and width of a large picture."""
FORMATS = {
    "png": {"compress_level": 1},
    "jpg": {"quality": 90},
    "progressive.jpg": {"quality": 90, "progressive": True},
    "webp": {"quality": 80, "method": 0},
}
"""How large pictures are stored: the ending of their names, and what Pillow is told."""
SHARES = (0.95, 0.85, 0.7)
"""Of the budget, what the limit is where it is less."""
REFUSED = (2, 3)
"""Exit codes of a run that is refused."""

Trouble = Literal["large pictures", "output on tmpfs", "limit below the budget"]


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    """What is special about it."""
    trouble: Trouble
    """Of which kind that is."""
    plan: Plan
    """Its plan."""
    data: Path
    """What it is trained on."""
    limit_bytes: int
    """Of the memory group."""


@dataclass(frozen=True)
class Found:
    """What a run came to: a line of the results."""

    name: str
    """Which case."""
    budget_bytes: int
    """Of its plan."""
    limit_bytes: int
    """Of the memory group."""
    exit_code: int
    """Of the command."""
    kills: int
    """By the kernel, in the group."""
    peak_bytes: int
    """Highest sum of VmHWM, polled from outside."""
    stored_bytes: int
    """Most that lay in the output folder, where that is memory."""
    together_bytes: int
    """Highest sum of VmHWM, of the processes that were there, and of what lay in such a folder at the same time."""
    said: str
    """The last that it said."""
    trained: bool
    """Whether it had taken a step."""

    @property
    def is_right(self) -> bool:
        """Not killed, within the budget, and done or refused in time."""
        refused = self.exit_code in REFUSED and not self.trained
        return self.kills == 0 and self.together_bytes <= self.budget_bytes and (self.exit_code == 0 or refused)


def disc(corner: int, random: np.random.Generator) -> np.ndarray:
    """A small picture (height, width, channels) with a white disc in one of four corners, which is its class."""
    picture = random.integers(0, 60, (SIDE, SIDE, 3)).astype("u1")
    y, x = np.mgrid[:SIDE, :SIDE]
    cy, cx = (SIDE // 4, 3 * SIDE // 4)[corner // 2], (SIDE // 4, 3 * SIDE // 4)[corner % 2]
    picture[(y - cy) ** 2 + (x - cx) ** 2 < (SIDE // 6) ** 2] = 255
    return picture


def write_pictures(folder: Path, ending: str) -> Path:
    """A folder of large pictures, one folder for each class."""
    random = np.random.default_rng(0)
    height, width = LARGE
    for label in range(CLASSES):
        (folder / "abcd"[label]).mkdir(parents=True)
        for number in range(PICTURES):
            picture = Image.fromarray(disc(label, random)).resize((width, height), Image.Resampling.NEAREST)
            picture.save(folder / "abcd"[label] / f"{number}.{ending}", **FORMATS[ending])
    return folder


def write_arrays(file: Path) -> Path:
    """An .npz file of small pictures, so many that caches between blocks are large."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, SAMPLES + TEST_SAMPLES)
    images = np.stack([disc(label, random) for label in labels])
    np.savez(
        file,
        images=images[:SAMPLES],
        labels=labels[:SAMPLES],
        test_images=images[SAMPLES:],
        test_labels=labels[SAMPLES:],
    )
    return file


def plan_for(profile: Profile, samples: int, above_bytes: int, strategy: Strategy = "auto") -> Plan:
    """A plan with so much above the least that its strategy needs."""

    def request(budget: int) -> Request:
        training = Training(BATCH, 1, samples, usual_optimizer("sgd"))
        return Request(Budget(budget, "process"), training, strategy=strategy)

    return make_plan(profile, request(least_memory(profile, request(2**40)) + above_bytes))


def cases(profile: Profile, folder: Path) -> Iterator[Case]:
    """All 20: 8 on large pictures, 6 into memory, 6 below a limit."""
    for ending in FORMATS:
        data = folder / f"pictures-{ending}"
        for above in (0, 96 * MIB):
            plan = plan_for(profile, CLASSES * PICTURES, above)
            yield Case(f"{ending}, least + {above // MIB} MiB", "large pictures", plan, data, plan.budget.bytes)
    data = folder / "arrays.npz"
    strategies: tuple[Strategy, ...] = ("neuroflux", "backprop")
    for strategy in strategies:
        for above in (0, 64 * MIB, 256 * MIB):
            plan = plan_for(profile, SAMPLES, above, strategy)
            yield Case(f"{strategy}, least + {above // MIB} MiB", "output on tmpfs", plan, data, plan.budget.bytes)
        plan = plan_for(profile, SAMPLES, 32 * MIB, strategy)
        for share in SHARES:
            limit = int(share * plan.budget.bytes)
            yield Case(f"{strategy}, limit {share:.0%} of it", "limit below the budget", plan, data, limit)


class _Scales:
    """Weighs a folder and a group's processes now and again, from outside, and remembers the most."""

    def __init__(self, folder: Path, group: MemoryGroup) -> None:
        self._folder = folder
        self._group = group
        self._over = Event()
        self._thread = Thread(target=self._weigh)
        self.most_bytes = 0
        """The most."""
        self.together_bytes = 0
        """The most with what the processes of the same moment have had resident."""

    def _weigh(self) -> None:
        while not self._over.wait(0.01):
            stored = _weigh(self._folder)
            pids = map(int, (self._group.path / "cgroup.procs").read_text().split())
            self.most_bytes = max(self.most_bytes, stored)
            self.together_bytes = max(self.together_bytes, stored + summed_peaks(pids))

    def __enter__(self) -> _Scales:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _weigh(folder: Path) -> int:
    """What lies in a folder and those within it; what goes meanwhile weighs nothing."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    total += _weigh(Path(entry)) if entry.is_dir(follow_symlinks=False) else 0
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        pass
    return total


def run(case: Case) -> Found:
    """Once, judged."""
    in_memory = case.trouble == "output on tmpfs"
    with tempfile.TemporaryDirectory(dir=SHARED if in_memory else None) as name:
        out = Path(name) / "out"
        plan_file = case.data.with_name("plan.json")
        plan_file.write_text(to_json(case.plan))
        command = [sys.executable, "-m", "planner.cli.main", "run", str(plan_file), "--data", str(case.data)]
        command += ["--out", str(out), "--quiet", "--checkpoint-seconds", "0"]
        with MemoryGroup(case.limit_bytes) as group, Watch(group) as watch, _Scales(out, group) as scales:
            done = subprocess.run(within(group, command), capture_output=True, text=True)
            kills = group.oom_kills()
        memory = RunFolder(out).memory
        return Found(
            f"{case.trouble}: {case.name}",
            case.plan.budget.bytes,
            case.limit_bytes,
            done.returncode,
            kills,
            watch.peak_bytes,
            scales.most_bytes if in_memory else 0,
            max(watch.peak_bytes, scales.together_bytes) if in_memory else watch.peak_bytes,
            (done.stdout.strip() or done.stderr.strip())[-300:],
            memory.exists() and memory.stat().st_size > 0,
        )


def read(file: Path) -> list[Found]:
    """The runs that were done; a line that was not written to its end is none."""
    if not file.exists():
        return []
    return [decode(Found, parse_json(line)) for line in file.read_bytes().split(b"\n")[:-1]]


def table(found: list[Found]) -> str:
    """Markdown."""
    lines = [
        "| run | budget | limit | exit | killed | peak | stored in memory | together | right |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in found:
        sizes = [f"{size / MIB:.1f}" for size in (each.budget_bytes, each.limit_bytes)]
        peaks = [f"{size / MIB:.1f}" for size in (each.peak_bytes, each.stored_bytes, each.together_bytes)]
        cells = [each.name, *sizes, str(each.exit_code), str(each.kills), *peaks, "yes" if each.is_right else "NO"]
        lines.append(f"| {' | '.join(cells)} |")
    killed, wrong = sum(each.kills for each in found), sum(not each.is_right for each in found)
    above = sum(each.together_bytes > each.budget_bytes for each in found)
    return "\n".join([*lines, "", f"{len(found)} runs: {killed} killed, {above} above the budget, {wrong} not right."])


def main(file: Path) -> int:
    """Run what has no line yet; 0 if all are right."""
    if memory_kind(SHARED) is None:
        raise SystemExit(f"{SHARED} is no memory here")
    profile = measured_profile(from_zoo("cnn6", (3, SIDE, SIDE), CLASSES), usual_optimizer("sgd"), BATCH)
    done = {each.name for each in read(file)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_arrays(folder / "arrays.npz")
        for case in cases(profile, folder):
            if f"{case.trouble}: {case.name}" in done:
                continue
            if case.trouble == "large pictures" and not case.data.exists():
                write_pictures(case.data, case.data.name.removeprefix("pictures-"))
            found = run(case)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(to_json(found, indent=None) + "\n")
            print(f"{found.name}: exit {found.exit_code}, {'right' if found.is_right else 'NOT RIGHT'}", flush=True)
    return 0 if all(each.is_right for each in read(file)) else 1


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["table"]:
        print(table(read(Path(words[1]) if len(words) > 1 else RESULTS)))
        sys.exit(0)
    sys.exit(main(Path(words[0]) if words else RESULTS))
