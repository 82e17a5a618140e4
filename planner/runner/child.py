"""The training child: `python -m planner.runner.child JOB PID`. Events go to its parent, one JSON object a line.

Its process is the one the budget is for: it imports torch and what it needs of the standard library, nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from planner.document import read_document, to_json
from planner.errors import PlannerError
from planner.runner import paths
from planner.runner.data.dataset import check_fits, open_data
from planner.runner.data.split import Dataset
from planner.runner.events import Deviation, Event, Failed, Finished, Ready, Told
from planner.runner.guard import MemoryGuard, describe
from planner.runner.job import Job
from planner.runner.stop import StopSignal
from planner.solver.schema import Plan
from planner.system.answers import Answers
from planner.system.exhaustion import is_out_of_memory
from planner.system.proc import CANNOT_BEGIN_ANEW
from planner.system.rlimit import die_with_parent
from planner.training.runtime import Started, check_arithmetic, start_gpu, start_torch


def check_data(plan: Plan, data: Dataset) -> str | None:
    """Raise InputError where data and model do not fit; return a deviation where they fit but differ from the plan."""
    info = data.info
    check_fits(info, plan.model, "the plan's model")
    if info.train_samples != plan.training.samples:
        return f"the plan counts {plan.training.samples} training samples, the data has {info.train_samples}"
    return None


def _train(job: Job, tell: Callable[[Event], None]) -> None:
    stop = StopSignal()
    stop.listen()
    plan = read_document(Path(job.out) / paths.PLAN, Plan)
    with open_data(job.data, Path(job.out), size=plan.model.input) as data:
        difference = check_data(plan, data)
        started = _start(plan)
        from planner.runner.session import Session

        guard = make_guard(job, plan, started)
        guard.begin()
        tell(Ready("ready", started.baseline_bytes, started.peak_bytes))
        if not guard.is_exact:
            tell(
                Deviation(
                    "deviation",
                    f"{CANNOT_BEGIN_ANEW}: measured peaks are the highest since the training process began, no less "
                    "than what a block or step took, and perhaps more",
                )
            )
        if difference is not None:
            tell(Deviation("deviation", difference))
        Session(job, plan, data, guard, tell, stop).run()
        guard.take()
        tell(Finished("finished", guard.life_peak_bytes))


def _start(plan: Plan) -> Started:
    """Torch, where the plan's device wants it; the bytes are those that the budget counts."""
    started = start_torch(plan.allocator, plan.device.threads)
    if plan.device.kind == "cuda":
        from planner.training.place import device_of

        start_gpu(device_of(plan.device.kind))
        started = Started(plan.baseline_bytes, plan.baseline_bytes)
    check_arithmetic(plan.training.dtype, plan.device.kind)
    return started


def make_guard(job: Job, plan: Plan, started: Started) -> MemoryGuard:
    """The guard of the memory that the plan's budget is of."""
    allowed = job.allowed_bytes
    if allowed is not None and job.above_baseline:
        allowed += started.baseline_bytes
    if plan.device.kind == "cpu":
        return MemoryGuard(allowed, started.baseline_bytes, plan.allocator == "fast")
    from planner.runner.gpu_guard import GpuGuard
    from planner.training.place import device_of

    return GpuGuard(device_of(plan.device.kind), allowed, started.baseline_bytes)


def main(job_path: str, supervisor_pid: int) -> int:
    """Run the job; what goes wrong is told as a `Failed` event."""
    die_with_parent(supervisor_pid)
    answers = Answers()

    def tell(event: Event) -> None:
        answers.tell(to_json(Told(event), indent=None))

    try:
        _train(read_document(job_path, Job), tell)
    except PlannerError as error:
        tell(Failed("failed", error.exit_code, str(error)))
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        tell(Failed("failed", 4, describe(error)))
        return 4
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1], int(sys.argv[2]))
    with suppress(OSError):  # what a library printed may find no room in the log
        sys.stdout.flush()
    # Torch's tear-down takes a second and touches memory; everything is on storage.
    os._exit(code)
