"""Our side: plans from a profile of this device, and the command that runs them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy

from benchmarks.peers.contestants import Ours, Work
from benchmarks.peers.measure import STEPS, Judged, Mark, judge, step_seconds
from planner.errors import InfeasibleError
from planner.model.zoo import from_zoo
from planner.profiler.library.store import ProfileStore
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.codec import parse_json, to_json
from planner.schema.common import usual_optimizer
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Scope, Training
from planner.schema.run_folder import RunFolder
from planner.solver.plan import least_memory, make_plan

EPOCHS, SAMPLES = 10, 50_000
"""Of the training that plans are made for; images per second are to its end."""
_CLASSES = 10


def profile_of(work: Work, threads: int) -> Profile:
    """From the store, or measured now."""
    model = from_zoo(work.network, (3, work.side, work.side), _CLASSES)
    request = ProfileRequest(model, usual_optimizer("sgd"), work.batch, threads)
    return ProfileStore.default().obtain(request, lambda: take_profile(request, lambda *_: None))


def _request(work: Work, ours: Ours, budget: Budget) -> Request:
    training = Training(work.batch, EPOCHS, SAMPLES, usual_optimizer("sgd"))
    return Request(budget, training, strategy=ours.strategy, prefer=ours.prefer)


def plan_of(profile: Profile, work: Work, ours: Ours, budget_bytes: int, scope: Scope) -> Plan | None:
    """The plan of a strategy; None where it has none that fits."""
    try:
        return make_plan(profile, _request(work, ours, Budget(budget_bytes, scope)))
    except InfeasibleError:
        return None


def least_budget(profile: Profile, work: Work, ours: Ours) -> int:
    """Of scope `training`, in bytes."""
    return least_memory(profile, _request(work, ours, Budget(2**40, "training")))


def time_plan(plan: Plan, limit_bytes: int) -> tuple[Judged, tuple[float, float] | None]:
    """Run a few steps of every block below a limit.

    Returns:
        What the run came to, and images by second of processor time and of the clock, to the end of the training that
        was planned: from the time of steps, and of what follows them as it is predicted beside them. None where steps
        are missing.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan.json").write_text(to_json(plan))
        _write_images(plan, folder / "data.npz")
        command = [sys.executable, "-m", "planner.cli.main", "run", str(folder / "plan.json"), "--quiet"]
        command += ["--data", str(folder / "data.npz"), "--out", str(folder / "out"), "--max-steps", str(STEPS)]
        judged = judge(command, limit_bytes, RunFolder(folder / "out").memory, plan.device.threads)
    blocks: list[list[Mark]] = [[] for _ in plan.blocks]
    for mark in judged.marks:
        blocks[parse_json(mark.line)["block"]].append(mark)
    if any(len(marks) < 2 for marks in blocks):
        return judged, None
    finish = sum(block.predicted.finish_seconds for block in plan.blocks)
    train = sum(plan.training.epochs * block.predicted.seconds_per_epoch for block in plan.blocks)
    cpu, wall = (plan.training.batch / seconds / (1 + finish / train) for seconds in step_seconds(blocks))
    return judged, (cpu, wall)


def _write_images(plan: Plan, path: Path) -> None:
    """Pictures of noise for so many steps, a tenth of which is held out, and as many as a batch to test on."""
    random, batch = numpy.random.default_rng(0), plan.training.batch
    parts = {
        f"{part}{name}": random.integers(0, most, size, dtype=numpy.uint8)
        for part, count in (("", batch * STEPS * 10 // 9 + 10), ("test_", batch))
        for name, most, size in (("images", 256, (count, *plan.model.input)), ("labels", plan.model.classes, (count,)))
    }
    numpy.savez(path, **parts)
