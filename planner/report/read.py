"""A run's output folder, read back: its plan, its report, and memory over time, whatever the run's length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from planner.errors import DocumentError, InputError
from planner.limits import MAX_BYTES
from planner.schema.codec import decode, parse_json, read_document
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import Failure, RunFolder

MAX_SAMPLES_KEPT = 20_000
"""Most samples that `read_run` returns; a picture has fewer columns."""

_MAX_LINE_BYTES = 4096


@dataclass(frozen=True)
class MemorySample:
    """One line of memory.jsonl, or several neighbours in one. Bytes are counted as the budget's scope counts them."""

    seconds: float
    """Since the run began."""
    block: int
    """Index of the block."""
    epoch: int
    """From 0."""
    step: int
    """From 0, over the block's training."""
    resident_bytes: int
    """Resident after the step; below 0 where the scope's baseline is undercut. Of neighbours, the mean."""
    peak_bytes: int
    """Highest during the step; of neighbours, the maximum."""
    loss: float
    """Of the last segment."""

    def __post_init__(self) -> None:
        if not 0 <= self.seconds <= 1e9:
            raise ValueError(f"seconds is {self.seconds}; seconds lie between 0 and 1e9")
        if min(self.block, self.epoch, self.step) < 0:
            raise ValueError("block, epoch and step count from 0")
        if max(abs(self.resident_bytes), abs(self.peak_bytes)) > MAX_BYTES:
            raise ValueError("resident_bytes and peak_bytes lie within ± 2^63")


@dataclass(frozen=True)
class Unfinished:
    """What an output folder says about a run that has no report yet: it goes on, or was stopped."""

    plan: Plan
    """What is to be done."""
    last: MemorySample | None
    """The last optimizer step; none: nothing is trained yet."""
    steps: int
    """Optimizer steps of all sessions, those done twice counted twice."""
    peak_bytes: int
    """Highest peak of any step, as the budget's scope counts bytes; 0 without steps."""
    failure: str | None = None
    """Why the last session failed; none: it did not, or it is not known."""


@dataclass(frozen=True)
class RunRecord:
    """What an output folder says about its run."""

    plan: Plan
    """What was to be done."""
    report: Report
    """What was done."""
    samples: tuple[MemorySample, ...]
    """Memory over time, in order; at most `MAX_SAMPLES_KEPT`."""


def read_run(folder: Path) -> RunRecord:
    """Read plan.json, report.json and memory.jsonl of a finished run's output folder.

    Raises InputError or DocumentError, which name the file, and the line in memory.jsonl. Its last line is left out
    where the run was killed in the middle of it. Memory stays bounded however long the run was: see `merge_samples`.
    """
    plan, files = _read_plan(folder), RunFolder(folder)
    if not is_finished(folder):
        raise InputError(
            f"{files.report}: is missing, so the run has not finished; go on with it (neuroflux run --resume)"
        )
    report = read_document(files.report, Report)
    _check_pair(files, plan, report)
    samples = _read_samples(files.memory, len(plan.stages))
    return RunRecord(plan, report, merge_samples(samples, MAX_SAMPLES_KEPT, len(plan.stages)))


def is_finished(folder: Path) -> bool:
    """Whether a run's output folder holds its report."""
    return RunFolder(folder).report.exists()


def read_unfinished(folder: Path) -> Unfinished:
    """Read how far a run has come whose report is not there. Raises InputError or DocumentError, as `read_run` does."""
    plan = _read_plan(folder)
    last, steps, peak = None, 0, 0
    memory = RunFolder(folder).memory
    for last in _read_samples(memory, len(plan.stages)) if memory.exists() else ():
        steps, peak = steps + 1, max(peak, last.peak_bytes)
    return Unfinished(plan, last, steps, peak, _read_failure(RunFolder(folder).failure))


def _read_failure(path: Path) -> str | None:
    try:
        return read_document(path, Failure).reason if path.exists() else None
    except DocumentError:
        return None  # damaged


def _read_plan(folder: Path) -> Plan:
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the output folder of a run")
    return read_document(RunFolder(folder).plan, Plan)


def _check_pair(files: RunFolder, plan: Plan, report: Report) -> None:
    path = files.report
    if report.plan_id != plan.id:
        raise InputError(f"{path}: belongs to plan {report.plan_id[:12]!r}, but plan.json is {plan.id[:12]!r}")
    problem = difference(report, plan)
    if problem is not None:
        raise InputError(f"{path}: {problem} plan.json beside it")


def difference(report: Report, plan: Plan) -> str | None:
    """In what a report of this plan tells of another network or other blocks; none: in nothing."""
    if [block.units for block in report.stages] != [block.units for block in plan.stages]:
        return "its blocks are not those of"
    if any(not 1 <= found.unit <= len(plan.model.units) for found in report.exits):
        return "its exits are not units of"
    return None


def _read_samples(path: Path, blocks: int) -> Iterator[MemorySample]:
    """Every sample, on one clock: a resumed run counts from 0 again, so it is put behind what was done before."""
    before = offset = 0.0
    for where, line, is_whole in _read_lines(path):
        try:
            sample = decode(MemorySample, parse_json(line))
            if sample.block >= blocks:
                raise DocumentError("$.block", f"{sample.block} is not a block of plan.json, which has {blocks}")
        except DocumentError as error:
            if not is_whole:
                return
            raise DocumentError(f"{where}: {error.path}", error.problem) from None
        if sample.seconds < before:
            offset += before
        before = sample.seconds
        yield replace(sample, seconds=sample.seconds + offset) if offset else sample


def _read_lines(path: Path) -> Iterator[tuple[str, bytes, bool]]:
    """Place, content, and whether the line was written to its end."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > _MAX_LINE_BYTES:
                    raise DocumentError(f"{path}, line {number}", f"longer than {_MAX_LINE_BYTES} bytes")
                yield f"{path}, line {number}", line, line.endswith(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def merge_samples(samples: Iterable[MemorySample], most: int, blocks: int) -> tuple[MemorySample, ...]:
    """At most `most` samples, each for a stretch of neighbours in one block: their highest peak, their mean resident.

    So the highest peak of every block is kept. Reads a stream, holds at most `most` samples, `most` ≥ 2 × `blocks`.
    """
    thinned: dict[int, _Thinned] = {}
    for sample in samples:
        thinned.setdefault(sample.block, _Thinned(most // blocks)).append(sample)
    merged = [sample for each in thinned.values() for sample in each.samples()]
    return tuple(sorted(merged, key=lambda sample: sample.seconds))


@dataclass
class _Stretch:
    """Neighbours in one: the last of them, their peak, and the sum of their resident bytes."""

    last: MemorySample
    peak_bytes: int
    resident_sum: int
    count: int

    def join(self, other: _Stretch) -> None:
        self.last = other.last
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.resident_sum += other.resident_sum
        self.count += other.count


class _Thinned:
    """Stretches of equal length, which doubles whenever there are too many of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._length = 1
        self._stretches: list[_Stretch] = []

    def append(self, sample: MemorySample) -> None:
        new = _Stretch(sample, sample.peak_bytes, sample.resident_bytes, 1)
        if self._stretches and self._stretches[-1].count < self._length:
            self._stretches[-1].join(new)
            return
        if len(self._stretches) == self._most:
            self._halve()
            self.append(sample)
            return
        self._stretches.append(new)

    def _halve(self) -> None:
        for left, right in zip(self._stretches[::2], self._stretches[1::2], strict=False):
            left.join(right)
        self._stretches = self._stretches[::2]
        self._length *= 2

    def samples(self) -> Iterator[MemorySample]:
        """What the stretches stand for."""
        for stretch in self._stretches:
            mean = round(stretch.resident_sum / stretch.count)
            yield replace(stretch.last, resident_bytes=mean, peak_bytes=stretch.peak_bytes)
