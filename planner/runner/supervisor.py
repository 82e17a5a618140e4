"""The small process that stands over the training child: starts it, listens, keeps the record, writes the report.

It imports no torch, for its own resident bytes count in the budget.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from planner.document import content_id, decode, parse_json, read_document, to_json
from planner.errors import InputError, InterruptedRunError, OverBudgetError, PlannerError, RunError, StorageError
from planner.report.schema import BlockReport, CacheReport, Report
from planner.runner import paths
from planner.runner.events import BlockDone, Deviation, Event, Failed, Finished, Ready, Step, Told
from planner.runner.job import Job
from planner.runner.resume import first_open_block
from planner.runner.safetensors import merge_tensors
from planner.solver.schema import Plan
from planner.system.files import lock_folder, write_atomically
from planner.system.proc import read_memory, reset_peak
from planner.system.resident import trim_clean_pages
from planner.units import MIB, format_bytes

GROWTH_BYTES = MIB
"""What the supervisor may still grow after it has started the child."""


class Observer(Protocol):
    """Is told every event, to show progress."""

    def observe(self, event: Event) -> None:
        """Take note; quickly, for the child's next event waits."""


@dataclass(frozen=True)
class RunOptions:
    """How a run differs from its plan's own word."""

    epochs: int | None = None
    """Passes over the data."""
    max_steps: int | None = None
    """Most optimizer steps of each block."""
    seed: int | None = None
    """Of every random stream."""
    resume: bool = False
    """Whether to go on in a folder that holds an unfinished run of the same plan."""
    guard: bool = True
    """Whether the child limits itself. Off only in tests, to show that the kernel would have noticed."""


@dataclass
class _Record:
    """What the child has said so far."""

    baseline_bytes: int = 0
    life_peak_bytes: int = 0
    blocks: list[BlockDone] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    failed: Failed | None = None
    finished: bool = False


def run_plan(plan: Plan, data: str, out: Path, options: RunOptions, observer: Observer) -> Report:
    """Execute `plan` on `data` into the folder `out`; the report is also written there.

    Raises RunError where
    the run fails, InterruptedRunError when a signal stopped it, StorageError, InputError.
    """
    started = time.perf_counter()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out}: the output folder cannot be made ({error.strerror})") from None
    with lock_folder(out):
        first_block = _prepare(plan, out, options.resume)
        record = _earlier(out, first_block)
        slim_down()
        if first_block < len(plan.blocks):
            _supervise(plan, _write_job(plan, data, out, options, first_block), out, record, observer)
        report = _make_report(plan, record, time.perf_counter() - started)
        weights = [paths.weights_path(out, index) for index in range(len(plan.blocks))]
        merge_tensors(weights, out / paths.MODEL, prefix="units.")
        write_atomically(out / paths.DESCRIPTION, to_json(plan.model))
        write_atomically(out / paths.REPORT, to_json(report))
    return report


def _prepare(plan: Plan, out: Path, resume: bool) -> int:
    """Put the plan into the folder and return the block to begin with."""
    if content_id(plan) != plan.id:
        raise InputError(f"the plan's content does not match its id {plan.id[:12]}…: it was changed; plan again")
    kept = out / paths.PLAN
    if kept.exists() and not resume:
        raise InputError(f"{out}: holds a run already; continue it with --resume, or choose another folder with --out")
    if kept.exists() and read_document(kept, Plan).id != plan.id:
        raise InputError(f"{out}: holds a run of another plan; choose another folder with --out")
    (out / "weights").mkdir(exist_ok=True)
    write_atomically(kept, to_json(plan))
    return first_open_block(out, plan)


def _earlier(out: Path, first_block: int) -> _Record:
    """The record of the blocks that an earlier session finished."""
    blocks = [read_document(paths.result_path(out, index), BlockDone) for index in range(first_block)]
    record = _Record(blocks=blocks, life_peak_bytes=max((done.peak_bytes for done in blocks), default=0))
    if first_block:
        record.deviations.append(f"resumed at block {first_block}; time and start-up peak are this session's")
    return record


def slim_down() -> None:
    """Give back what only this process's start needed, before there is a child to share the budget with."""
    trim_clean_pages()
    reset_peak()


def _write_job(plan: Plan, data: str, out: Path, options: RunOptions, first_block: int) -> Path:
    allowed: int | None = None
    if options.guard:
        allowed = plan.budget.bytes
        if plan.budget.scope == "process":
            allowed -= read_memory().peak_bytes + GROWTH_BYTES
    job = Job(
        str(out),
        data,
        options.epochs,
        options.max_steps,
        options.seed,
        allowed,
        plan.budget.scope == "training",
        first_block,
    )
    path = out / paths.JOB
    write_atomically(path, to_json(job))
    return path


def _supervise(plan: Plan, job: Path, out: Path, record: _Record, observer: Observer) -> None:
    with ExitStack() as stack:
        log = stack.enter_context((out / paths.LOG).open("wb"))
        memory = stack.enter_context(_open_telemetry(out / paths.MEMORY))
        child = stack.enter_context(_child(job, log))
        telemetry = _Telemetry(plan, memory)
        assert child.stdout is not None
        for line in child.stdout:
            event = decode(Told, parse_json(line)).event
            _note(record, event)
            telemetry.observe(event, record)
            observer.observe(event)
        code = child.wait()
    _judge(code, record, out)


@contextmanager
def _child(job: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The training child, stopped and gone when this ends; SIGTERM and Ctrl-C here stop it too."""
    command = [sys.executable, "-m", "planner.runner.child", str(job), str(os.getpid())]
    before = signal.signal(signal.SIGTERM, _interrupt)
    # Ctrl-C reaches the whole foreground group; the child leaves the stopping to us.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, process_group=0
    ) as child:
        try:
            yield child
        except KeyboardInterrupt:
            raise InterruptedRunError("stopped; finished blocks are kept, --resume goes on from there") from None
        finally:
            signal.signal(signal.SIGTERM, before)
            # Nothing half-written counts, whenever the child ends; see planner.system.files.
            child.kill()


def _open_telemetry(path: Path) -> IO[str]:
    """Open memory.jsonl to append; a line that a killed supervisor left half-written goes first."""
    path.touch()
    with path.open("rb+") as file:
        kept = file.read().rfind(b"\n") + 1
        file.truncate(kept)
    return path.open("a", encoding="utf-8")


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _note(record: _Record, event: Event) -> None:
    match event:
        case Ready():
            record.baseline_bytes = event.baseline_bytes
            record.life_peak_bytes = max(record.life_peak_bytes, event.peak_bytes)
        case Step():
            record.life_peak_bytes = max(record.life_peak_bytes, event.peak_bytes)
        case BlockDone():
            record.blocks.append(event)
            record.life_peak_bytes = max(record.life_peak_bytes, event.peak_bytes)
        case Deviation():
            record.deviations.append(event.text)
        case Failed():
            record.failed = event
        case Finished():
            record.finished = True
            record.life_peak_bytes = max(record.life_peak_bytes, event.peak_bytes)


class _Telemetry:
    """Writes memory.jsonl: a line per optimizer step, bytes as the budget's scope counts them."""

    def __init__(self, plan: Plan, file: IO[str]) -> None:
        self._scope = plan.budget.scope
        self._file = file
        self._started = time.perf_counter()

    def observe(self, event: Event, record: _Record) -> None:
        if not isinstance(event, Step):
            return
        extra = read_memory().resident_bytes if self._scope == "process" else -record.baseline_bytes
        line = {
            "seconds": round(time.perf_counter() - self._started, 6),
            "block": event.block,
            "epoch": event.epoch,
            "step": event.step,
            "resident_bytes": event.resident_bytes + extra,
            "peak_bytes": event.peak_bytes + extra,
            "loss": event.loss,
        }
        self._file.write(to_json(line, indent=None) + "\n")
        self._file.flush()


def _judge(code: int, record: _Record, out: Path) -> None:
    """Raise what the child's end means, if it is not a good one."""
    if record.finished and code == 0:
        return
    if record.failed is not None:
        kinds: dict[int, type[PlannerError]] = {2: InputError, 4: RunError}
        raise kinds.get(record.failed.exit_code, RunError)(record.failed.message)
    if code == -signal.SIGKILL:
        raise OverBudgetError(
            "the training process was killed, most likely by the kernel for lack of memory; finished blocks are kept. "
            "Plan for a smaller budget, or free memory on the device"
        )
    last = (out / paths.LOG).read_text(errors="replace").strip().splitlines()[-1:]
    said = f": {last[0][:300]}" if last else ""
    raise RunError(f"the training process ended unexpectedly (exit {code}){said}; its log is {out / paths.LOG}")


def _make_report(plan: Plan, record: _Record, seconds: float) -> Report:
    own = read_memory().peak_bytes
    is_process = plan.budget.scope == "process"
    extra = own if is_process else -record.baseline_bytes
    blocks = tuple(_block_report(plan, done, extra) for done in record.blocks)
    peak = record.life_peak_bytes + own if is_process else max(block.measured_peak_bytes for block in blocks)
    exits = tuple(found for done in record.blocks for found in done.exits)
    return Report(
        schema="report/1",
        plan_id=plan.id,
        budget_bytes=plan.budget.bytes,
        scope=plan.budget.scope,
        peak_bytes=peak,
        child_peak_bytes=record.life_peak_bytes,
        supervisor_peak_bytes=own,
        baseline_bytes=record.baseline_bytes,
        within_budget=peak <= plan.budget.bytes,
        blocks=blocks,
        exits=exits,
        chosen_exit=exits[-1].unit,
        accuracy=exits[-1].accuracy,
        seconds=seconds,
        cache=CacheReport(
            sum(done.cache_bytes for done in record.blocks), sum(done.stall_seconds for done in record.blocks)
        ),
        deviations=tuple(record.deviations) + _over(peak, plan.budget.bytes),
    )


def _over(peak: int, budget: int) -> tuple[str, ...]:
    if peak <= budget:
        return ()
    return (f"the peak of {format_bytes(peak)} is above the budget of {format_bytes(budget)}",)


def _block_report(plan: Plan, done: BlockDone, extra: int) -> BlockReport:
    block = plan.blocks[done.block]
    return BlockReport(
        units=block.units,
        micro_batch=done.micro_batch,
        accumulate=done.accumulate,
        predicted_peak_bytes=block.predicted.peak_bytes,
        measured_peak_bytes=done.peak_bytes + extra,
        predicted_seconds_per_epoch=block.predicted.seconds_per_epoch,
        measured_seconds_per_epoch=done.seconds_per_epoch,
        epochs=done.epochs,
        steps=done.steps,
        loss=done.loss,
        calibration_seconds=done.calibration_seconds,
    )
