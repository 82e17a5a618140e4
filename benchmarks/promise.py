"""The promise: `python -m benchmarks.promise [RUNS] [FILE]`; then `python -m benchmarks.promise table [FILE]`.

Networks × strategies × budgets from the least on, each plan run several times inside a memory group whose hard limit is
the plan's budget. A run keeps the promise if the kernel killed nothing, the sum of VmHWM over supervisor and child,
polled from outside, never passed the budget, and the command ended with 0. Every phase of every block is compared with
its prediction. Controls without the guard, whose anonymous bytes are 1.3 times their limit, must die: otherwise the
limit would prove nothing. Needs a memory group (usually root).

FILE (default benchmarks/results/promise.jsonl) gets a line for each run as it ends. A call goes on behind the lines
that are there, until there are RUNS of them; so it can be stopped at any time, and done in pieces. `table` prints
Markdown.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from statistics import median

import numpy

from benchmarks.judge import Watch, within
from planner.cli.measure import measured_profile
from planner.errors import InfeasibleError
from planner.model.zoo import from_zoo
from planner.sample import SAMPLE_FILE
from planner.schema.codec import decode, parse_json, read_document, to_json
from planner.schema.common import Dtype, usual_optimizer
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.request import Budget, Request, Strategy, Training
from planner.schema.run_folder import RunFolder
from planner.solver.plan import least_memory, make_plan
from planner.units import MIB
from tests.memory_group import MemoryGroup

NETWORKS = ("cnn6", "vgg11", "resnet18", "mobilenetv2")
STRATEGIES: tuple[Strategy, ...] = ("auto", "neuroflux", "backprop", "classic-local", "checkpoint")
OTHERS = ("cnn6", "vgg11")
"""Of which plans ask for more than a strategy; one of them in bfloat16, so the processor has to compute in that."""
ROOM = (0.0, 0.001, 0.005, 0.02)
"""Above the least that a strategy needs, as a share of it."""
RESULTS = Path("benchmarks/results/promise.jsonl")
BATCH = 32
TRAIN, TEST = 480, 120
"""Of the bundled images: no phase takes more with more of them, and 300 runs should not take all day."""
STEPS = 3
CONTROLS = 4

_UNGUARDED = """
import sys
from pathlib import Path
from planner.cli.progress import Silent
from planner.schema.codec import read_document
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.schema.plan import Plan
run_plan(read_document(sys.argv[1], Plan), "sample", Path(sys.argv[2]), RunOptions(max_steps=2, guard=False), Silent())
"""


@dataclass(frozen=True)
class Case:
    """A plan to be run."""

    name: str
    """Network, what is asked for, and the room above the least."""
    plan: Plan
    """Its plan."""


@dataclass(frozen=True)
class PhaseFound:
    """A phase of a block in one run."""

    phase: str
    """Which."""
    predicted_bytes: int
    """The plan's word."""
    measured_bytes: int
    """The kernel's."""


@dataclass(frozen=True)
class Found:
    """One run: a line of the results."""

    name: str
    """Which case."""
    blocks: int
    """Of its plan."""
    cuts: int
    """Of its plan."""
    budget_bytes: int
    """The limit of the memory group."""
    exit_code: int
    """Of the command."""
    kills: int
    """By the kernel, in the group."""
    peak_bytes: int
    """Highest sum of VmHWM, polled from outside."""
    deviations: tuple[str, ...]
    """Where the run left its plan; or the last that a failed one said."""
    phases: tuple[PhaseFound, ...]
    """Those that the plan predicts, where the run had no deviation."""


def request(strategy: Strategy, budget: int, dtype: Dtype = "float32") -> Request:
    """For the images of `write_images`."""
    training = Training(BATCH, 1, TRAIN, usual_optimizer("sgd"), dtype=dtype)
    return Request(Budget(budget, "process"), training, strategy=strategy)


def write_images(path: Path) -> None:
    """The first of the bundled images, as a file of arrays."""
    with numpy.load(SAMPLE_FILE) as sample:
        parts = {name: sample[name][:TRAIN] for name in ("images", "labels")}
        parts |= {name: sample[name][:TEST] for name in ("test_images", "test_labels")}
    numpy.savez(path, **parts)


def others(network: str, profile: Profile) -> Iterator[Case]:
    """What else a plan may ask for, at the least memory that takes."""
    usual = request("neuroflux", 2**40, profile.dtype)
    asked: dict[str, Request] = {}
    if profile.dtype == "float32":
        for kept in ("bfloat16", "uint8"):
            asked[f"caches in {kept}"] = replace(usual, cache_dtype=kept)
        asked["augmented"] = replace(usual, training=replace(usual.training, augment="crop-flip", epochs=2, views=2))
        asked["two units frozen"] = replace(usual, training=replace(usual.training, freeze=2))
        asked["no storage"] = replace(usual, storage_bytes=1)
    else:
        asked[f"in {profile.dtype}"] = usual
        asked[f"in {profile.dtype}, by backpropagation"] = replace(usual, strategy="backprop")
    for name, wanted in asked.items():
        least = least_memory(profile, wanted)
        yield Case(f"{network}, {name}", make_plan(profile, replace(wanted, budget=Budget(least, "process"))))


def plans(network: str, profile: Profile) -> Iterator[Case]:
    """One for each strategy and budget; a plan that stands for two of them comes once."""
    seen: set[str] = set()
    for strategy in STRATEGIES:
        try:
            least = least_memory(profile, request(strategy, 2**40))
        except InfeasibleError:
            continue
        for room in ROOM:
            plan = make_plan(profile, request(strategy, least + int(room * least)))
            if plan.id not in seen:
                seen.add(plan.id)
                yield Case(f"{network}, {strategy}, {100 * room:g} %", plan)


def cases(profiles: dict[str, Profile]) -> list[Case]:
    """All of them, networks in turn, so that a part of the runs has some of each."""
    found = [list(plans(name, profiles[name])) for name in NETWORKS]
    for name in OTHERS:
        model = from_zoo(name, (1, 28, 28), 10)
        half = measured_profile(model, usual_optimizer("sgd"), BATCH, "bfloat16")
        found.append([*others(name, profiles[name]), *others(name, half)])
    return [case for group in zip_longest(*found) for case in group if case is not None]


def run(case: Case, folder: Path, write: Callable[[Path], None] = write_images) -> Found:
    """Once, judged; `write` makes the file of its data."""
    plan = case.plan
    (folder / "plan.json").write_text(to_json(plan))
    write(folder / "data.npz")
    command = [sys.executable, "-m", "planner.cli.main", "run", str(folder / "plan.json")]
    command += [
        "--data",
        str(folder / "data.npz"),
        "--quiet",
        "--out",
        str(folder / "out"),
        "--max-steps",
        str(STEPS),
        "--checkpoint-seconds",
        "0",
    ]
    with MemoryGroup(plan.budget.bytes) as group, Watch(group) as watch:
        done = subprocess.run(within(group, command), capture_output=True, text=True)
        kills = group.oom_kills()
    kept = RunFolder(folder / "out").report
    report = read_document(kept, Report) if kept.exists() else None
    phases: tuple[PhaseFound, ...] = ()
    if report is not None and not report.deviations:
        told = (phase for block in report.blocks for phase in block.phases)
        phases = tuple(
            PhaseFound(phase.phase, phase.predicted_peak_bytes, phase.measured_peak_bytes)
            for phase in told
            if phase.predicted_peak_bytes is not None
        )
    said = report.deviations if report is not None else (done.stderr.strip()[-500:],)
    return Found(
        case.name,
        len(plan.blocks),
        plan.cuts,
        plan.budget.bytes,
        done.returncode,
        kills,
        watch.peak_bytes,
        said,
        phases,
    )


def control(profile: Profile, folder: Path) -> bool:
    """Whether a run without the guard, too large by 1.3 in anonymous bytes, was killed."""
    # Under `fast` what comes and goes is counted twice: the limit would not be too small.
    plan = make_plan(profile, replace(request("backprop", 2**33), allocator="tight"))
    (folder / "plan.json").write_text(to_json(plan))
    live = plan.predicted.peak_bytes - plan.blocks[0].predicted.breakdown.runtime
    limit = int((live + 120 * MIB) / 1.3)  # of the runtime at least so much cannot be library code
    command = [sys.executable, "-c", _UNGUARDED, str(folder / "plan.json"), str(folder / "out")]
    with MemoryGroup(limit) as group:
        done = subprocess.run(within(group, command), capture_output=True)
        return group.oom_kills() > 0 and done.returncode != 0


def read(file: Path) -> list[Found]:
    """The runs that were done; a line that was not written to its end is none."""
    if not file.exists():
        return []
    return [decode(Found, parse_json(line)) for line in file.read_bytes().split(b"\n")[:-1]]


def main(runs: int, file: Path) -> int:
    """Run until there are so many lines; 0 if the promise was kept every time and every control died."""
    profiles = {
        name: measured_profile(from_zoo(name, (1, 28, 28), 10), usual_optimizer("sgd"), BATCH) for name in NETWORKS
    }
    wanted = cases(profiles)
    print(f"{len(wanted)} plans", file=sys.stderr)
    done = len(read(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    while done < runs:
        with tempfile.TemporaryDirectory() as folder:
            found = run(wanted[done % len(wanted)], Path(folder))
        with file.open("ab") as results:
            results.write(to_json(found, indent=None).encode() + b"\n")
        done += 1
        print(f"{done}/{runs} {found.name}: exit {found.exit_code} {'; '.join(found.deviations)}", file=sys.stderr)
    died = 0
    for _ in range(CONTROLS):
        with tempfile.TemporaryDirectory() as folder:
            died += control(profiles["vgg11"], Path(folder))
    print(f"{died} of {CONTROLS} controls were killed.")
    return int(died < CONTROLS or any(map(is_broken, read(file))))


def is_broken(found: Found) -> bool:
    """Whether a run did not keep the promise."""
    return bool(found.kills or found.exit_code or found.peak_bytes > found.budget_bytes)


def table(file: Path) -> None:
    """Print what the runs came to, by plan and by phase."""
    found = read(file)
    names = dict.fromkeys(one.name for one in found)
    print("Made by `python -m benchmarks.promise`. MiB; checkpoints after every step; peak: the highest sum of VmHWM.")
    numbers = ("blocks", "cuts", "budget", "runs", "failed", "killed", "peak", "% of budget", "deviations")
    print(f"\n| network, strategy, room | {' | '.join(numbers)} |\n| --- |{' ---: |' * len(numbers)}")
    for name in names:
        print(_row([one for one in found if one.name == name]))
    print_totals(found)


def print_totals(found: list[Found]) -> None:
    """What all of them came to, and how far predictions were off, by phase."""
    names = {one.name for one in found}
    over = sum(one.peak_bytes > one.budget_bytes for one in found)
    print(
        f"\n{len(found)} runs over {len(names)} plans: {sum(one.kills for one in found)} killed by the kernel, "
        f"{sum(one.exit_code != 0 for one in found)} failed, {over} above their budget, "
        f"{sum(len(one.deviations) for one in found)} deviations.\n"
    )
    print("| phase | measured | most above its prediction | median excess of the prediction |")
    print("| --- | ---: | ---: | ---: |")
    for phase in dict.fromkeys(phase.phase for one in found for phase in one.phases):
        same = [other for one in found for other in one.phases if other.phase == phase]
        above = [100 * (other.measured_bytes / other.predicted_bytes - 1) for other in same]
        print(f"| {phase} | {len(same)} | {max(above):+.2f} % | {-median(above):.2f} % |")


def _row(same: list[Found]) -> str:
    one, peak = same[0], max(found.peak_bytes for found in same)
    budget = max(found.budget_bytes for found in same)
    share = max(found.peak_bytes / found.budget_bytes for found in same)
    cells = [
        f"{budget / MIB:.1f}",
        len(same),
        sum(found.exit_code != 0 for found in same),
        sum(found.kills for found in same),
        f"{peak / MIB:.1f}",
        f"{100 * share:.1f}",
        sum(len(found.deviations) for found in same),
    ]
    return f"| {one.name} | {one.blocks} | {one.cuts} | {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    given = sys.argv[1:]
    place = Path(given[1]) if len(given) > 1 else RESULTS
    if given[:1] == ["table"]:
        table(place)
    else:
        sys.exit(main(int(given[0]) if given else 300, place))
