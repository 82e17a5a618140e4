"""The training child: `python -m planner.runner.train.child JOB PID`. Events go to its parent, one JSON object a line.

Its process is the one the budget is for: it imports torch and what it needs of the standard library, nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from planner.data.records import Records
from planner.errors import OverBudgetError, PlannerError
from planner.runner.protocol.events import ChildReady, Deviation, Event, Finished, Initialised, Message
from planner.runner.protocol.job import TrainingJob
from planner.runner.storage.sealed import read_sealed
from planner.runner.train.foreign import fallbacks_here
from planner.runner.train.guard import MemoryGuard, describe
from planner.runner.train.stop import StopSignal
from planner.runner.train.stored import fallbacks_beside
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import read_document, to_json
from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder
from planner.system.allocator import offers_huge_pages
from planner.system.answers import Answers
from planner.system.exhaustion import is_out_of_memory
from planner.system.proc import CANNOT_BEGIN_ANEW
from planner.system.rlimit import die_with_parent
from planner.training.runtime import Started, check_arithmetic, start_accelerator
from planner.training.start import start_child
from planner.units import format_bytes


def compare_data(plan: Plan, data: Records) -> str | None:
    """A deviation where the data has other numbers of samples than the plan counts."""
    found = data.description.training_samples
    if found != plan.training.samples:
        return f"the plan counts {plan.training.samples} training samples, the data has {found}"
    return None


def _train(job: TrainingJob, answers: Answers, emit: Callable[[Event], None]) -> None:
    stop = StopSignal()
    stop.listen()
    plan = read_document(RunFolder(Path(job.out)).plan, Plan)
    with Records(RunFolder(Path(job.out)).records) as data:
        difference = compare_data(plan, data)
        started = _start(answers, plan)
        from planner.runner.train.session import Session

        guard = make_guard(job, plan, started)
        fallbacks = _first_fallbacks(job, plan, started)
        session = Session(job, plan, data, guard, emit, stop, fallbacks)
        init = session.compare_init()
        guard.begin()
        emit(
            ChildReady("ready", started.baseline_bytes, started.peak_bytes, started.start)
        )  # from here on nothing can be refused
        if not guard.is_exact:
            emit(
                Deviation(
                    "deviation",
                    f"{CANNOT_BEGIN_ANEW}: measured peaks are the highest since the training process began, no less "
                    "than what a block or step took, and perhaps more",
                )
            )
        if difference is not None:
            emit(Deviation("deviation", difference))
        if init is not None:
            emit(Initialised("initialised", init.shortened()))
        for text in _about_device(job, plan, started, fallbacks):
            emit(Deviation("deviation", text))
        session.run()
        guard.take()
        emit(Finished("finished", guard.life_peak_bytes))


def _start(answers: Answers, plan: Plan) -> Started:
    """Torch, where the plan's device wants it; the bytes are those that the budget counts."""
    started = start_child(answers, plan.allocator, plan.device.threads, plan.start)
    if plan.device.is_accelerator:
        start_accelerator(plan.device.kind)
        started = Started(plan.baseline_bytes, plan.baseline_bytes, plan.start)
    check_arithmetic(plan.training.dtype, plan.device.kind)
    return started


def _allowed_bytes(job: TrainingJob, started: Started) -> int | None:
    above = started.baseline_bytes if job.above_baseline else 0
    return None if job.allowed_bytes is None else job.allowed_bytes + above


def _why_others(job: TrainingJob, plan: Plan, started: Started) -> str | None:
    """Why starting may have taken other bytes here than the plan counts; None where nothing says so."""
    if job.any_device:
        return "another device's plan"
    if started.start != plan.start:
        return "a plan for a lean start of torch (which failed here)"
    return None


def _first_fallbacks(job: TrainingJob, plan: Plan, started: Started) -> tuple[int, ...]:
    """The largest setting of every block that may be tried. Raises InfeasibleError where there is none here."""
    beside = fallbacks_beside(plan, job.stored_bytes) if job.stored_bytes else (0,) * len(plan.stages)
    why = _why_others(job, plan, started)
    if why is None or plan.device.is_accelerator:
        return beside
    here = fallbacks_here(plan, _allowed_bytes(job, started), started.baseline_bytes, started.peak_bytes, why)
    return tuple(map(max, here, beside))


def _about_device(job: TrainingJob, plan: Plan, started: Started, fallbacks: tuple[int, ...]) -> Iterator[str]:
    """What is to be said of a plan whose training process was another."""
    if plan.allocator == "huge" and not offers_huge_pages():
        yield "the plan's allocator takes huge pages, which are not to be had here: steps take longer than predicted"
    why = _why_others(job, plan, started)
    if why is None or job.first_block == len(plan.stages):
        return
    yield (
        f"{why}: starting took {format_bytes(started.baseline_bytes)} here, the plan counts "
        f"{format_bytes(plan.baseline_bytes)}"
    )
    for index, fallback in enumerate(fallbacks):
        if fallback and index >= job.first_block:
            size = plan.stages[index].settings[fallback].micro_batch
            name = plan.stage_name(index)
            yield f"{name}: begins at micro-batch {size}, larger ones do not fit beside what starting takes here"


def make_guard(job: TrainingJob, plan: Plan, started: Started) -> MemoryGuard:
    """The guard of the memory that the plan's budget is of."""
    allowed = _allowed_bytes(job, started)
    if not plan.device.is_accelerator:
        return MemoryGuard(allowed, started.baseline_bytes, plan.allocator != "tight")
    from planner.runner.train.accelerator_guard import AcceleratorGuard
    from planner.training.device import accelerator_of

    return AcceleratorGuard(accelerator_of(plan.device.kind), allowed, started.baseline_bytes)


def main(job_path: str, supervisor_pid: int) -> int:
    """Run the job; what goes wrong is told as a `ChildFailed` event."""
    die_with_parent(supervisor_pid)
    answers = Answers()

    def emit(event: Event) -> None:
        answers.emit(to_json(Message(event), indent=None))

    try:
        _train(read_sealed(Path(job_path), TrainingJob), answers, emit)
    except PlannerError as error:
        emit(ChildFailed.of(error))
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        refused = OverBudgetError(describe(error))
        emit(ChildFailed.of(refused))
        return refused.exit_code
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1], int(sys.argv[2]))
    with suppress(OSError):  # what a library printed may find no room in the log
        sys.stdout.flush()
    # Torch's tear-down takes a second and touches memory; everything is on storage.
    os._exit(code)
