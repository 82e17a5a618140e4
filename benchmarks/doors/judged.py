"""Other people's networks inside a hard limit: `python -m benchmarks.doors.judged peaks|run [FILE]`.

Needs the environment of `benchmarks.doors.accept` and a memory group (usually root).

`peaks`: torchvision's and timm's networks, each profiled here and run by `neuroflux run` at three micro-batches (fewer
where its plans have fewer) in a group whose hard limit is the plan's budget. Every phase is compared with its
prediction. `run`: the first ten of them go through `planner.profile`, `planner.plan` and `planner.run` from Python,
weights in and out, each run in a group of its budget, which is the least that any strategy needs and 2 % more. FILE
gets a line for each run as it ends, and a call goes on behind the lines that are there; `table FILE` prints Markdown.
Profiles are kept in the folder `profiles` beside FILE, and measured once for both.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from benchmarks.doors.accept import build
from benchmarks.judge import Watch
from benchmarks.promise import Case, print_totals, read, run
from planner.errors import ModelError, PlannerError
from planner.schema.codec import read_document, to_json
from planner.schema.common import usual_optimizer
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import least_memory, make_plan
from tests.memory_group import MemoryGroup

NETWORKS = (
    ("torchvision", "mobilenet_v3_small"),
    ("torchvision", "squeezenet1_1"),
    ("timm", "ghostnet_050"),
    ("timm", "deit_tiny_patch16_224"),
    ("torchvision", "shufflenet_v2_x0_5"),
    ("torchvision", "mnasnet0_5"),
    ("timm", "repvgg_a0"),
    ("torchvision", "resnet18"),
    ("timm", "edgenext_xx_small"),
    ("torchvision", "efficientnet_b0"),
    ("torchvision", "regnet_y_400mf"),
    ("timm", "mobilevit_xxs"),
    ("timm", "convnext_atto"),
    ("timm", "poolformer_s12"),
    ("torchvision", "densenet121"),
    ("timm", "levit_128s"),
    ("timm", "resmlp_12_224"),
    ("torchvision", "googlenet"),
    ("torchvision", "alexnet"),
    ("timm", "mixer_s32_224"),
    ("torchvision", "swin_t"),
    ("torchvision", "vgg11_bn"),
    ("timm", "pit_ti_224"),
    ("torchvision", "resnet50"),
    ("timm", "coat_lite_tiny"),
)
"""Each of another kind."""
SIDES = (64, 224)
BATCH, CLASSES = 16, 10
TRAIN, TEST = 64, 32
MICRO_BATCHES = 3
ROOM = (1.0, 1.6, 2.5, 4.0)
"""Budgets tried for other micro-batches, as multiples of what the least plan takes beside its runtime."""


def network(package: str, name: str) -> tuple[Any, int]:
    """The module, with weights at random, and the side of the smallest input that it takes."""
    import torch

    for side in SIDES:
        torch.manual_seed(0)
        try:
            found = build(package, name, side)
            found.train()(torch.zeros(2, 3, side, side))
        except Exception:  # whatever a package raises where an input is too small
            continue
        torch.manual_seed(0)
        return build(package, name, side), side
    raise ModelError(f"{package}: takes none of {SIDES}")


def write_images(side: int, path: Path) -> None:
    """Pictures of noise: what is measured does not depend on them."""
    random = numpy.random.default_rng(0)
    parts = {
        f"{part}{name}": random.integers(0, most, size, dtype=numpy.uint8)
        for part, count in (("", TRAIN), ("test_", TEST))
        for name, most, size in (("images", 256, (count, 3, side, side)), ("labels", CLASSES, (count,)))
    }
    numpy.savez(path, **parts)


def profiled(module: Any, side: int, kept: Path) -> Profile:
    """The profile that is kept, or a new one."""
    import torch

    import planner

    if kept.exists():
        return read_document(kept, Profile)
    found = planner.profile(module, torch.zeros(1, 3, side, side), batch=BATCH)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(to_json(found))
    return found


def place(file: Path, package: str, name: str) -> Path:
    """Where a network's profile is kept."""
    return file.parent / "profiles" / f"{package}-{name}.json"


def request(budget: int, strategy: Any = "backprop") -> Request:
    """For those pictures."""
    return Request(
        Budget(budget, "process"), Training(BATCH, 1, TRAIN, usual_optimizer("sgd")), strategy=strategy, prefer="speed"
    )


def plans(name: str, profile: Profile) -> Iterator[Case]:
    """Backpropagation at three micro-batches, the least budgets first, and local learning at its least."""
    least = least_memory(profile, request(2**40))
    first = make_plan(profile, request(least))
    runtime = first.blocks[0].predicted.breakdown.runtime
    found: dict[int, Plan] = {}
    for room in ROOM:
        plan = make_plan(profile, request(int(runtime + room * (least - runtime))))
        if len(found) < MICRO_BATCHES:
            found.setdefault(plan.blocks[0].micro_batch, plan)
    for micro_batch, plan in found.items():
        yield Case(f"{name}, backprop, micro-batch {micro_batch}", plan)
    yield Case(
        f"{name}, auto, least", make_plan(profile, request(least_memory(profile, request(2**40, "auto")), "auto"))
    )


def peaks(file: Path) -> None:
    """See the module."""
    done = {found.name.split(",")[0] for found in read(file)}
    for package, name in NETWORKS:
        if name in done:
            continue
        try:
            module, side = network(package, name)
            profile = profiled(module, side, place(file, package, name))
            wanted = list(plans(name, profile))
        except PlannerError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        for case in wanted:
            with tempfile.TemporaryDirectory() as folder:
                found = run(case, Path(folder), lambda path, side=side: write_images(side, path))
            with file.open("ab") as results:
                results.write(to_json(found, indent=None).encode() + b"\n")
            said = "; ".join(found.deviations)
            print(f"{case.name}: exit {found.exit_code}, {found.kills} killed {said}", file=sys.stderr, flush=True)


def run_one(package: str, name: str, file: str) -> dict[str, Any]:
    """One network through Python; its run enters a memory group before it starts."""
    import torch

    import planner
    from planner.python import run as runs

    module, side = network(package, name)
    profile = profiled(module, side, place(Path(file), package, name))
    least = least_memory(profile, request(2**40, "auto"))
    plan = planner.plan(profile, int(least * 1.02), batch=BATCH, epochs=1, samples=TRAIN)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder, MemoryGroup(plan.budget.bytes) as group, Watch(group) as watch:
        data = Path(folder) / "data.npz"
        write_images(side, data)
        join = f"open({str(group.path / 'cgroup.procs')!r}, 'w').write('0')\n"
        runs._COMMAND = join + runs._COMMAND
        report = planner.run(plan, data, out=Path(folder) / "out", init=module, exit_tolerance=None, quiet=True)
        killed = group.oom_kills()
        report.load_into(module)
    after = module.state_dict()
    trained = sum(not torch.equal(before[key], after[key]) for key in before)
    finite = all(bool(value.isfinite().all()) for value in after.values())
    return {
        "name": name,
        "side": side,
        "blocks": len(plan.blocks),
        "budget_bytes": plan.budget.bytes,
        "predicted_bytes": plan.predicted.peak_bytes,
        "peak_bytes": watch.peak_bytes,
        "killed": killed,
        "within_budget": report.within_budget,
        "tensors": len(after),
        "changed": trained,
        "finite": finite,
    }


def run_all(file: Path) -> None:
    """See the module."""
    import subprocess

    done = {json.loads(line)["name"] for line in file.read_text().splitlines()} if file.exists() else set()
    for package, name in NETWORKS[:10]:
        if name in done:
            continue
        command = [sys.executable, "-m", "benchmarks.doors.judged", "one", package, name, str(file)]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        line = child.stdout.strip().splitlines()[-1] if child.returncode == 0 else ""
        found = json.loads(line) if line else {"name": name, "error": child.stderr[-600:]}
        with file.open("a") as results:
            results.write(json.dumps(found) + "\n")
        print(found, file=sys.stderr, flush=True)


def table(file: Path) -> None:
    """Print FILE."""
    if "phases" in file.read_text().splitlines()[0]:
        found = read(file)
        names = ("plan", "budget", "peak", "% of budget", "exit", "killed", "deviations")
        print(f"| {' | '.join(names)} |\n| --- |{' ---: |' * (len(names) - 1)}")
        for one in found:
            share = 100 * one.peak_bytes / one.budget_bytes
            cells = (f"{one.budget_bytes / 2**20:.1f}", f"{one.peak_bytes / 2**20:.1f}", f"{share:.1f}")
            print(f"| {one.name} | {' | '.join(cells)} | {one.exit_code} | {one.kills} | {len(one.deviations)} |")
        print_totals(found)
        return
    names = ("name", "side", "blocks", "budget_bytes", "predicted_bytes", "peak_bytes", "killed", "changed", "tensors")
    print(f"| {' | '.join(names)} |\n| --- |{' ---: |' * (len(names) - 1)}")
    for line in file.read_text().splitlines():
        one = json.loads(line)
        print(f"| {' | '.join(str(one.get(name, one.get('error', ''))) for name in names)} |")


def main(words: list[str]) -> None:
    """See the module."""
    if words[0] == "one":
        print(json.dumps(run_one(*words[1:])))
        return
    file = Path(words[1] if len(words) > 1 else f"benchmarks/results/doors-{words[0]}.jsonl")
    {"peaks": peaks, "run": run_all, "table": table}[words[0]](file)


if __name__ == "__main__":
    main(sys.argv[1:])
