"""The small process that stands over the training child: starts it, listens, keeps the record, writes the report.

It imports no torch, for its own resident bytes count in the budget.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from planner.data.pace import Progress
from planner.errors import InterruptedRunError, OverBudgetError, PlannerError, RunError, StorageError
from planner.runner.protocol.events import Event, Message, Preparing, Warned
from planner.runner.protocol.job import TrainingJob
from planner.runner.protocol.position import Position, read_position
from planner.runner.protocol.sizes import sizes_of
from planner.runner.storage.planned_run import PlannedRun
from planner.runner.storage.sealed import read_sealed, write_sealed
from planner.runner.supervise.begin import Begun, Footprint, agree, check_init, check_plan, lay
from planner.runner.supervise.comparison import compared_before
from planner.runner.supervise.exits import export_models
from planner.runner.supervise.own_memory import allowed_bytes, release_start_memory
from planner.runner.supervise.preflight import PreflightQuestion, look
from planner.runner.supervise.record import Record, Telemetry, make_report, resized_by
from planner.runner.supervise.resume import clear_leftovers, find_damage, first_open_block
from planner.runner.supervise.run_data import data_report, kept_in_memory, prepare_data, unused_validation
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import Failure, RunFolder
from planner.system.child import ChildProcess
from planner.system.ends import End
from planner.system.files import make_folder, storage_errors, write_atomically
from planner.system.locks import FolderLock, lock_folder
from planner.system.storage import memory_kind


class Observer(Protocol):
    """Is told every event, to show progress."""

    def observe(self, event: Event) -> None:
        """Take note; quickly, for the child's next event waits."""


@dataclass(frozen=True)
class RunOptions:
    """What a run does otherwise than its plan says, and how it goes about it."""

    epochs: int | None = None
    """Passes over the data."""
    max_steps: int | None = None
    """Most optimizer steps of each block."""
    seed: int | None = None
    """Of every random stream."""
    init: Path | None = None
    """Weights to begin with, a safetensors file or a run's output folder; the names are those of an exported model."""
    resume: bool = False
    """Whether to go on in a folder that holds an unfinished run of the same plan."""
    checkpoint_seconds: float = 60.0
    """Minimum interval between two checkpoints within a block, in seconds; 0 checkpoints after every step."""
    validation: str | None = None
    """Name or path of the samples to choose an exit by; none: the data's own, or some held out, and what a resumed run
    was begun with."""
    exit_tolerance: float | None = None
    """Points of accuracy that the smallest exit kept may lose to the best. A tenth of the training samples is held out
    to choose both by, where the plan has a choice; none holds nothing out. A resumed run keeps whether it does.
    """
    any_device: bool = False
    """Whether the plan may be another device's. It is then held against what starting takes here, and says so."""
    ignore_limit: bool = False
    """Whether a container's memory limit may be below the budget. The kernel may then kill the run within it."""
    holds_out: bool = False
    """Whether samples are held out although the plan has no choice of exits, as a run that it is compared with does."""
    guard: bool = True
    """Whether the child limits itself, and memory is looked at before. Off only in tests, to show that the kernel would
    have noticed."""


def run_plan(plan: Plan, data: str, out: Path, options: RunOptions, observer: Observer) -> Report:
    """Execute `plan` on `data` into the folder `out`; the report is also written there.

    Raises RunError where the run fails, InterruptedRunError when a signal stopped it, StorageError, InputError,
    InfeasibleError. A run that is refused leaves nothing behind.
    """
    started = time.perf_counter()
    check_plan(plan)
    run = PlannedRun(plan, RunFolder(out))
    footprint = Footprint(run.folder)
    make_folder(out)
    with lock_folder(out) as lock, footprint:
        record, begun = _begin(run, data, agree(run, options), footprint, observer)
        release_start_memory()
        if len(record.blocks) < len(plan.stages) or not record.knows_start:
            _Supervision(run, data, begun, record, observer, lock).run()
        tolerance = begun.options.exit_tolerance
        report = make_report(plan, record, time.perf_counter() - started, tolerance)
        report = compared_before(report, run.folder)
        export_models(_described(run, record), report.best.unit, report.chosen_exit)
        write_atomically(run.folder.report, to_json(report))
    return report


def _begin(run: PlannedRun, data: str, begun: Begun, footprint: Footprint, observer: Observer) -> tuple[Record, Begun]:
    """Look whether the run can begin, and only then lay into the folder what it begins with."""
    damage = [] if begun.is_new else find_damage(run)
    trains = bool(damage) or begun.is_new or first_open_block(run) < len(run.plan.stages)
    keeps_init = check_init(begun, run.folder, trains)
    options = begun.options
    init = str(options.init) if options.init is not None and begun.is_new else None
    answer = look(PreflightQuestion(run.plan, options.any_device, trains, options.guard, options.ignore_limit, init))
    release_start_memory()
    kind = memory_kind(run.folder.path)

    def on_progress(found: Progress) -> None:
        observer.observe(Preparing("preparing", found.doing, found.done, found.total))

    prepared = prepare_data(run, data, begun, trains, kind is not None, on_progress)
    in_memory = kept_in_memory(run, begun, data, prepared, kind) if kind and options.guard else None
    notes = () if prepared.reused else (*prepared.description.notes, *unused_validation(run.plan, begun))
    for text in (*answer.warnings, *notes, *([in_memory.text] if in_memory else [])):
        observer.observe(Warned("warning", text))
    footprint.claim(begun)
    begun = replace(lay(run, begun, keeps_init), is_foreign=bool(answer.differences))
    for each in damage:
        each.remove()
    first_block = first_open_block(run)
    record = Record(run.folder)
    record.read(first_block)
    record.stored_bytes = in_memory.stored.training_bytes if in_memory else 0
    record.keep_data(data_report(prepared, begun))
    foreign = [f"run with the plan of another device: {'; '.join(answer.differences)}"] if begun.is_foreign else []
    for text in (*begun.mended, *(each.text for each in damage), *foreign):
        if all(text != known for known, _ in record.deviations):
            record.deviate(text)
    if first_block < len(run.plan.stages):
        _note_resumption(record, first_block, run.plan.stage_name(first_block))
    clear_leftovers(run, first_block)
    return record, begun


def _described(run: PlannedRun, record: Record) -> PlannedRun:
    """The same run, its model with the names that the data's classes have, and what its input has to be like."""
    names = record.data.description.class_names if record.data else ()
    before = run.plan.model
    model = replace(
        before,
        class_names=names or before.class_names,
        normalisation=run.plan.normalisation if before.input_dtype != "int64" else None,
        resize=resized_by(run.plan, record.data) if before.input_dtype == "uint8" else None,
        shorter_side=run.plan.shorter_side,
    )
    return PlannedRun(replace(run.plan, model=model), run.folder)


def _note_resumption(record: Record, first_block: int, name: str) -> None:
    position = _position(record.folder, first_block)
    if first_block or position:
        step = f", step {position.step}" if position else ""
        record.deviate(f"resumed at {name}{step}; time is this session's")


def _position(folder: RunFolder, block: int) -> Position | None:
    """How far the block's training was on storage; None where nothing of it is, or what is there is damaged."""
    for path in (folder.block_weights(block), folder.checkpoint):
        try:
            position = read_position(path)
        except StorageError:
            continue
        if position is not None and position.block == block:
            return position
    return None


class _Supervision:
    """Starts children until one has finished the run: a killed one's successor begins at the next fallback."""

    def __init__(
        self, run: PlannedRun, data: str, begun: Begun, record: Record, observer: Observer, lock: FolderLock
    ) -> None:
        self._run = run
        self._plan = run.plan
        self._folder = run.folder
        self._data = data
        self._begun = begun
        self._record = record
        self._observer = observer
        self._lock = lock
        self._tried: list[str] = []
        self._log_start = 0

    def run(self) -> None:
        """Raises PlannerError where the run cannot be finished."""
        telemetry = Telemetry(self._plan, self._folder.memory)
        stopper = _Stopper()
        first_block, first_fallback = len(self._record.blocks), 0
        with storage_errors(self._folder.failure):
            self._folder.failure.unlink(missing_ok=True)
        try:
            with stopper:
                while not self._record.finished:
                    code = self._one_child(self._write_job(first_block, first_fallback), telemetry, stopper)
                    self._handle_exit(code, stopper)
                    if not self._record.finished:
                        first_block, first_fallback = self._lower(code)
        except PlannerError as error:
            if not isinstance(error, InterruptedRunError):
                self._keep_failure(error)
            raise
        finally:
            telemetry.close()

    def _keep_failure(self, error: PlannerError) -> None:
        """Lay down why the run failed, for who looks into the folder later; where there is room for that."""
        with suppress(StorageError):
            write_atomically(self._folder.failure, to_json(Failure(str(error))))

    def _write_job(self, first_block: int, first_fallback: int) -> Path:
        options = self._begun.options
        job = TrainingJob(
            str(self._folder.path),
            self._data,
            options.epochs,
            options.max_steps,
            options.seed,
            allowed_bytes(self._plan, self._record.stored_bytes) if options.guard else None,
            self._plan.budget.scope == "training",
            first_block,
            first_fallback,
            options.checkpoint_seconds,
            options.exit_tolerance,
            self._plan.id,
            self._begun.init_checksum,
            self._begun.is_foreign,
            self._record.data.description.fingerprint if self._record.data else None,
            self._record.stored_bytes,
            options.holds_out,
        )
        self._record.job = job
        write_sealed(self._folder.job, job)
        return self._folder.job

    def _one_child(self, job: Path, telemetry: Telemetry, stopper: _Stopper) -> int:
        """Follow one child to its end and return its exit code."""
        self._record.progress = None
        with ExitStack() as stack:
            with storage_errors(self._folder.path):
                log = stack.enter_context(self._folder.log.open("ab", buffering=0))
                log.write(_log_header(job))
                self._log_start = log.tell()
            child = stack.enter_context(_child(job, log, self._lock))
            stopper.watch(child)
            for line in child.answers:
                if not line.endswith(b"\n"):
                    break  # the child was killed within it
                event = decode(Message, parse_json(line)).event
                self._record.note(event)
                telemetry.observe(event, self._record)
                self._observer.observe(event)
            return child.process.wait()

    def _handle_exit(self, code: int, stopper: _Stopper) -> None:
        """Raise what a child's end means, unless the run is finished or another child may go on."""
        record = self._record
        if record.finished and code == 0:
            return
        if record.failed is not None:
            raise record.failed.error()
        if stopper.is_stopping:
            raise InterruptedRunError("stopped; the last checkpoint is kept, --resume goes on from there")
        end = End(code)
        if end.may_be_memory:
            return
        raise RunError(
            f"the training process was {end.explained}, unexpectedly{self._last_words()}; its log is {self._folder.log}"
        )

    def _last_words(self) -> str:
        """The last line that the child of now has left in the log, if any."""
        with storage_errors(self._folder.path), self._folder.log.open("rb") as log:
            log.seek(self._log_start)
            last = log.read().decode(errors="replace").strip().splitlines()[-1:]
        return f": {last[0][:300]}" if last else ""

    def _lower(self, code: int) -> tuple[int, int]:
        """Where a killed child's successor begins: block and fallback. Raises OverBudgetError where there is none."""
        reached = self._record.progress
        end = End(code)
        if reached is None:
            raise OverBudgetError(
                f"the training process was {end.explained}, before its first block: where that was memory, torch alone "
                "takes more than there is. Free memory on the device, or plan for what there is"
            )
        block, name = self._plan.stages[reached.block], self._plan.stage_name(reached.block)
        sizes = sizes_of(block)
        first_block = first_open_block(self._run)
        self._record.read(first_block)
        message = f"{end.words} at micro-batch {sizes[reached.fallback]} ({reached.phase})"
        if first_block > reached.block:
            self._record.deviate(f"{name}: the training process was {message}; it was done already")
            return first_block, 0
        self._tried.append(f"{name} {message}")
        # Behind the fallbacks there are sizes for what runs without gradients alone.
        with_gradients = reached.phase in ("prepare", "train", "save")
        if reached.fallback + 1 == len(block.settings if with_gradients else sizes):
            raise OverBudgetError(
                f"the training process was {end.explained}, and {name} has no fallback left. Tried: "
                f"{'; '.join(self._tried)}. Plan for a smaller budget, or free memory on the device; --resume goes on "
                "from the last checkpoint"
            )
        self._record.deviate(
            f"{name}: the training process was {message}; resumed from the last checkpoint at "
            f"micro-batch {sizes[reached.fallback + 1]}"
        )
        return first_block, reached.fallback + 1


def _log_header(job: Path) -> bytes:
    """What parts a child's lines in the log from those of the children before it."""
    begun = read_sealed(job, TrainingJob)
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return f"--- training process of {now}, block {begun.first_block}, fallback {begun.first_fallback} ---\n".encode()


class _Stopper:
    """SIGTERM and Ctrl-C: the first asks the child to save and end, the second ends it at once."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._child: ChildProcess | None = None
        self._before: dict[signal.Signals, Any] = {}

    def watch(self, child: ChildProcess) -> None:
        """From here on this is the child to ask."""
        self._child = child
        if self.is_stopping:
            child.process.terminate()

    def _stop(self, number: int, frame: object) -> None:
        if self.is_stopping:
            raise InterruptedRunError("stopped at once; the last checkpoint is kept, --resume goes on from there")
        self.is_stopping = True
        if self._child is not None:
            self._child.process.terminate()

    def __enter__(self) -> _Stopper:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _child(job: Path, log: IO[bytes], lock: FolderLock) -> ChildProcess:
    """The training child. It holds the folder's lock too, so that an orphan keeps others out.

    It is killed when its `with` block ends: nothing half-written counts, whenever that is; see planner.system.files.
    """
    arguments = ["-m", "planner.runner.train.child", str(job), str(os.getpid())]
    return ChildProcess(arguments, log, keep=[lock.fileno()])
