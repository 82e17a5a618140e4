"""What a run's supervisor keeps: what the child has said, memory step by step, deviations, and the report of it all."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, assert_never

from planner.errors import InputError
from planner.runner.protocol.events import (
    BlockDone,
    BlockStarted,
    Checkpointed,
    ChildReady,
    Deviation,
    Event,
    Finished,
    Initialised,
    Preparing,
    Step,
    Warned,
)
from planner.runner.protocol.job import TrainingJob
from planner.runner.storage.sealed import read_sealed, write_sealed
from planner.runner.supervise.exits import best_exit, choose_exit
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import to_json
from planner.schema.plan import Plan
from planner.schema.preprocessing import Resize
from planner.schema.report import BlockReport, CacheReport, DataReport, PeakPosition, PhaseReport, PolishReport, Report
from planner.schema.report_parts import InitReport, Phase
from planner.schema.run_folder import RunFolder
from planner.system.files import storage_errors
from planner.system.proc import Memory, read_memory
from planner.units import format_bytes

_LAST_BYTES = 8192
"""More than a line of memory.jsonl has."""

_CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Deviations:
    """What `deviations.json` holds."""

    texts: tuple[str, ...]
    """Where the run had to leave its plan, in order."""
    steps: tuple[int, ...]
    """Of each, how many lines of memory.jsonl were there before it."""


@dataclass(frozen=True)
class Known:
    """What `known.json` holds, so that a report can be made when no child is left to tell it."""

    job: TrainingJob
    """What the child was told: a copy, should that file be lost."""
    baseline_bytes: int
    """Resident bytes of the last session's child before any block."""
    peak_bytes: int
    """Highest resident bytes of any child."""
    peak: PeakPosition | None = None
    """When that was."""
    init: InitReport | None = None
    """What training began with."""


def read_known(folder: RunFolder) -> Known | None:
    """What is known of a run; none where nothing is, or the file is damaged."""
    try:
        return read_sealed(folder.known, Known)
    except InputError:
        return None


@dataclass(frozen=True)
class ChildProgress:
    """Where the child is."""

    block: int
    """Index of the block."""
    fallback: int
    """The setting in force: 0 is the plan's own, then its fallbacks."""
    phase: Phase
    """What it does there."""


@dataclass
class Record:
    """What the child has said so far, in this session and those before."""

    folder: RunFolder
    """The output folder."""
    blocks: list[BlockDone] = field(default_factory=list)
    """Those that are done."""
    deviations: list[tuple[str, int]] = field(default_factory=list)
    """Where the run had to leave its plan, each with the steps before it."""
    steps: int = 0
    """Lines of memory.jsonl: optimizer steps of all sessions, those done twice counted twice."""
    baseline_bytes: int = 0
    """Resident bytes of the child before any block."""
    life_peak_bytes: int = 0
    """Highest resident bytes of any child."""
    peak: PeakPosition | None = None
    """When that was first known; none: an earlier release has not told."""
    progress: ChildProgress | None = None
    """Where the child of now is; none before its first block."""
    init: InitReport | None = None
    """What training began with."""
    failed: ChildFailed | None = None
    """Why it gave up."""
    finished: bool = False
    """Whether every block is done."""
    job: TrainingJob | None = None
    """What the child was told."""
    stored_bytes: int = 0
    """What the output folder takes of memory at most; 0 where it is storage."""
    data: DataReport | None = None
    """What is trained on."""
    knows_start: bool = False
    """Whether a child of this session or of one before has told how it started."""

    def read(self, blocks: int) -> None:
        """Take over what the sessions before have left on storage: so many blocks, and all deviations.

        Raises StorageError, DocumentError.
        """
        self.blocks = [read_sealed(self.folder.block_result(index), BlockDone) for index in range(blocks)]
        self.steps = _whole_lines(self.folder.memory)
        for done in self.blocks:
            self._rise_by_block(done)
        known = read_known(self.folder)
        if known is not None:
            self.knows_start = True
            self.baseline_bytes, self.init = known.baseline_bytes, known.init
            if known.peak_bytes > self.life_peak_bytes:
                self.life_peak_bytes, self.peak = known.peak_bytes, known.peak
        self._read_deviations()

    def _read_deviations(self) -> None:
        kept = self.folder.deviations
        self.deviations = []
        if not kept.exists():
            return
        try:
            found = read_sealed(kept, Deviations)
            self.deviations = list(zip(found.texts, found.steps, strict=True))
        except (InputError, ValueError):
            self.deviate(f"{kept.name} was damaged: deviations before this one are lost")

    def deviate(self, text: str) -> None:
        """Note a deviation, on storage too. Raises StorageError."""
        self.deviations.append((text, self.steps))
        texts, steps = zip(*self.deviations, strict=True)
        write_sealed(self.folder.deviations, Deviations(texts, steps))

    def keep_data(self, data: DataReport) -> None:
        """Note what is trained on, on storage too. Raises StorageError."""
        self.data = data
        write_sealed(self.folder.data, data)

    def _keep(self) -> None:
        """Put on storage what only a child can tell. Raises StorageError."""
        if self.job is not None:
            known = Known(self.job, self.baseline_bytes, self.life_peak_bytes, self.peak, self.init)
            write_sealed(self.folder.known, known)

    def note(self, event: Event) -> None:
        """Take in an event. Raises StorageError."""
        match event:
            case ChildReady():
                self.baseline_bytes, self.knows_start = event.baseline_bytes, True
                self._rise(event.peak_bytes, "start")
                self._keep()
            case Initialised():
                self.init = event.init
                self._keep()
            case BlockStarted():
                self._rise_here(event.peak_bytes)
                self.progress = ChildProgress(event.block, event.fallback, event.phase)
            case Step():
                self.steps += 1
                self._rise_here(event.peak_bytes)
            case BlockDone():
                self.blocks.append(event)
                self._rise_by_block(event)
            case Deviation():
                self.deviate(event.text)
            case Checkpointed():
                pass  # it lies in the folder
            case ChildFailed():
                self.failed = event
            case Finished():
                self.finished = True
                self._rise_here(event.peak_bytes)
                self._keep()
            case Warned() | Preparing():
                pass  # it was said before there was a child
            case _:
                assert_never(event)

    def _rise_here(self, peak_bytes: int) -> None:
        if self.progress is None:
            self._rise(peak_bytes, "start")
        else:
            self._rise(peak_bytes, self.progress.phase, self.progress.block)

    def _rise_by_block(self, done: BlockDone) -> None:
        highest = max(done.phases, key=lambda found: found.peak_bytes, default=None)
        self._rise(done.peak_bytes, highest.phase if highest else None, done.block)

    def _rise(self, peak_bytes: int, phase: Phase | None, block: int | None = None) -> None:
        if peak_bytes > self.life_peak_bytes:
            self.life_peak_bytes = peak_bytes
            self.peak = None if phase is None else PeakPosition(phase, block, self.steps)


def _whole_lines(path: Path) -> int:
    """Lines of a file, not counting one that is half-written. Raises StorageError."""
    if not path.exists():
        return 0
    with storage_errors(path), path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""))


class Telemetry:
    """Writes memory.jsonl: a line per optimizer step, bytes as the budget's scope counts them."""

    def __init__(self, plan: Plan, path: Path) -> None:
        """Go on behind the last whole line; what a killed supervisor left half-written goes. Raises StorageError."""
        self._plan = plan
        self._path = path
        with storage_errors(path):
            path.touch()
            with path.open("rb+") as file:
                start = max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES)
                file.seek(start)
                file.truncate(start + file.read().rfind(b"\n") + 1)
            self._file: IO[str] = path.open("a", encoding="utf-8")
        self._started = time.perf_counter()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # what is left in the buffer is a line that could not be written before
            self._file.close()

    def observe(self, event: Event, record: Record) -> None:
        """Write a step's line. Raises StorageError."""
        if not isinstance(event, Step):
            return
        is_process = self._plan.budget.scope == "process"
        extra = own_memory(self._plan).resident_bytes if is_process else -record.baseline_bytes
        line = {
            "seconds": round(time.perf_counter() - self._started, 6),
            "block": event.block,
            "epoch": event.epoch,
            "step": event.step,
            "resident_bytes": event.resident_bytes + extra,
            "peak_bytes": event.peak_bytes + extra,
            "loss": event.loss,
        }
        with storage_errors(self._path):
            self._file.write(to_json(line, indent=None) + "\n")
            self._file.flush()


def own_memory(plan: Plan) -> Memory:
    """What this process takes of the memory that the plan's budget is of: nothing of an accelerator's."""
    return Memory(0, 0, 0, 0, 0, 0) if plan.device.is_accelerator else read_memory()


def make_report(plan: Plan, record: Record, seconds: float, exit_tolerance: float | None = None) -> Report:
    """What the run did, all sessions together; `seconds` is this one's.

    `exit_tolerance` is how many points of accuracy the chosen exit may lose to the best.
    """
    own, task = own_memory(plan).peak_bytes, plan.model.task
    is_process = plan.budget.scope == "process"
    extra = own if is_process else -record.baseline_bytes
    stages = tuple(_block_report(plan, done, extra) for done in record.blocks)
    peak = record.life_peak_bytes + own if is_process else max(stage.measured_peak_bytes for stage in stages)
    peak += record.stored_bytes
    count = len(plan.blocks)
    exits = tuple(found for done in record.blocks[count:] or record.blocks for found in done.exits)
    best = best_exit(exits, task.metric)
    when = _named(record.peak if is_process else _highest_of(stages), count)
    preparing = record.data.prepare_peak_bytes if record.data and is_process and not plan.device.is_accelerator else 0
    if preparing > peak:
        peak, when = preparing, PeakPosition("data", None, 0)
    deviations = [*record.deviations, *_over(peak, plan.budget.bytes, when)]
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
        blocks=stages[:count],
        exits=exits,
        chosen_exit=choose_exit(exits, task.metric, exit_tolerance).unit,
        accuracy=best.accuracy,
        seconds=seconds,
        cache=CacheReport(
            sum(done.cache_bytes for done in record.blocks), sum(done.stall_seconds for done in record.blocks)
        ),
        deviations=tuple(text for text, _ in deviations),
        init=record.init,
        deviation_steps=tuple(steps for _, steps in deviations),
        exit_tolerance=exit_tolerance if best.validation_accuracy is not None else None,
        best_exit=best.unit,
        peak=when,
        stored_in_memory_bytes=record.stored_bytes,
        samples=best.samples,
        accuracy_interval=None if best.samples is None else task.metric.interval(best.accuracy, best.samples),
        task=task,
        data=record.data,
        normalisation=plan.normalisation if plan.model.input_dtype != "int64" else None,
        resize=resized_by(plan, record.data),
        shorter_side=plan.shorter_side,
        polish=None if plan.polish is None else PolishReport(stages[count], record.blocks[count - 1].exits[-1]),
    )


def _named(when: PeakPosition | None, blocks: int) -> PeakPosition | None:
    """What lies behind all blocks is the polish."""
    is_polish = when is not None and when.block is not None and when.block >= blocks
    return replace(when, is_polish=True) if when is not None and is_polish else when


def resized_by(plan: Plan, data: DataReport | None) -> Resize | None:
    """How images of other sizes were brought to the model's: as was asked for, and pictures of a folder in any case."""
    is_folder = data is not None and data.description.layout in ("folder", "masks")
    return plan.resize or ("bilinear" if is_folder else None)


def _highest_of(stages: tuple[BlockReport, ...]) -> PeakPosition | None:
    """When the highest block was at its peak: under scope `training`, what starting took is none of the budget's."""
    index, block = max(enumerate(stages), key=lambda found: found[1].measured_peak_bytes)
    highest = max(block.phases, key=lambda found: found.measured_peak_bytes, default=None)
    if highest is None:
        return None
    before = sum(other.steps for other in stages[:index])
    return PeakPosition(highest.phase, index, before + (0 if highest.phase == "prepare" else block.steps))


def _over(peak: int, budget: int, when: PeakPosition | None) -> list[tuple[str, int]]:
    if peak <= budget:
        return []
    message = f"the peak of {format_bytes(peak)} is {format_bytes(peak - budget)} above the budget of"
    where = f", {when.words}" if when else ""
    return [(f"{message} {format_bytes(budget)}{where}", when.steps if when else 0)]


def _block_report(plan: Plan, done: BlockDone, extra: int) -> BlockReport:
    block = plan.stages[done.block]
    predicted = asdict(block.predicted.peak_bytes_by_phase)
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
        waited_permille=done.waited_permille,
        phases=tuple(
            # 0: the plan has no such phase, or is older than its prediction.
            PhaseReport(found.phase, predicted.get(found.phase) or None, found.peak_bytes + extra, found.seconds)
            for found in done.phases
        ),
    )
