"""The small process that stands over the evaluating child: it starts it and reads its answer. No torch here.

Its own resident bytes count in the budget, as those of a run's supervisor do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from planner.data.pace import Progress
from planner.data.prepare import Prepared, Wanted, prepare_in_child
from planner.errors import InfeasibleError, InputError, PlannerError, error_of
from planner.model.shapes import model_sizes
from planner.model.tokens import token_limit
from planner.runner.protocol import events
from planner.runner.protocol.job import EvaluationJob
from planner.runner.storage.exported import Exported, find_exported
from planner.runner.storage.sealed import read_sealed
from planner.runner.supervise.own_memory import GROWTH_BYTES, release_start_memory
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import to_json
from planner.schema.report import DataReport, Evaluation
from planner.schema.run_folder import RunFolder
from planner.system.child import ask
from planner.system.machine import probe
from planner.system.proc import read_memory
from planner.system.storage import memory_kind, scratch_folder
from planner.units import MIB, format_bytes

_VARIES_BYTES = 4 * MIB
"""By how much less the start of two processes may take in one run than in the next."""


def evaluate(
    path: Path, data: str, budget_bytes: int | None = None, on_progress: Callable[[Progress], None] | None = None
) -> Evaluation:
    """Measure an exported model (a run's output folder, or a model's file) on the test part of `data`.

    `on_progress` is called with how far preparing that has come. Where only folders in memory can be written to, what
    is kept there counts.

    Nothing is left in the model's folder, which may be one that can only be read. Raises InfeasibleError where
    `budget_bytes`, which all processes share, is too small; InputError, StorageError, RunError.
    """
    exported = find_exported(path)
    cores = probe().cores
    release_start_memory()
    own = read_memory().peak_bytes + GROWTH_BYTES
    allowed = None if budget_bytes is None else budget_bytes - own
    with scratch_folder(exported.folder) as scratch:
        in_memory = memory_kind(scratch) is not None
        prepared = _prepare(exported, data, scratch, allowed, in_memory, on_progress)
        kept = prepared.storage_bytes if in_memory else 0
        left = None if allowed is None else allowed - kept
        records = RunFolder(scratch).records
        event = _answer(EvaluationJob(str(exported.weights.absolute()), str(records), cores, left))
    if isinstance(event, ChildFailed):
        raise _error(event, own + kept, budget_bytes)
    peak = max(event.peak_bytes + kept, prepared.peak_bytes)
    return _evaluation(exported, data, event, budget_bytes, prepared, peak)


def _prepare(
    exported: Exported,
    data: str,
    scratch: Path,
    allowed_bytes: int | None,
    in_memory: bool,
    on_progress: Callable[[Progress], None] | None,
) -> Prepared:
    model = exported.model
    return prepare_in_child(
        Wanted(
            data=data,
            work_dir=str(scratch),
            input=model.input,
            input_dtype=model.input_dtype,
            tokens=token_limit(model),
            classes=model.classes,
            called=model.name,
            task=model.task,
            seed=_drawn_by(exported),
            class_names=model.class_names,
            allowed_bytes=allowed_bytes,
            test_only=True,
            in_memory=in_memory,
            resize=model.resize,
            shorter_side=model.shorter_side,
        ),
        on_progress,
    )


def _drawn_by(exported: Exported) -> int:
    """The seed by which the run that trained the model has held samples out."""
    try:
        return read_sealed(RunFolder(exported.folder).data, DataReport).description.seed
    except InputError:
        return 0


def _notes(exported: Exported, prepared: Prepared) -> tuple[str, ...]:
    """What a person should know of the data, and whether it may have been trained on."""
    if "test" not in prepared.description.held_out or RunFolder(exported.folder).data.exists():
        return prepared.description.notes
    unknown = (
        f"the data has no test part, and {exported.folder} does not say which samples the model's training held out: "
        "some of these may have been trained on"
    )
    return (*prepared.description.notes, unknown)


def _answer(job: EvaluationJob) -> events.Evaluated | ChildFailed:
    done = ask(["-m", "planner.runner.train.evaluator", to_json(job, indent=None), str(os.getpid())])
    return done.decoded(events.EvaluationMessage, "the evaluating process", "free some on the device").event


def _error(event: ChildFailed, own_bytes: int, budget_bytes: int | None) -> PlannerError:
    if event.minimum_bytes is not None and budget_bytes is not None:
        needed = event.minimum_bytes + own_bytes + _VARIES_BYTES
        return InfeasibleError(
            f"{format_bytes(budget_bytes)} are too little: {event.message}; about {format_bytes(needed)} are needed, "
            "most of it for torch and this process",
            needed,
            "one unit and one sample",
        )
    return error_of(event.exit_code, event.message)


def _evaluation(
    exported: Exported,
    data: str,
    event: events.Evaluated,
    budget_bytes: int | None,
    prepared: Prepared,
    children_peak_bytes: int,
) -> Evaluation:
    return Evaluation(
        schema="evaluation/1",
        model=exported.model.name,
        parameters=sum(sizes.parameters for sizes in model_sizes(exported.model)),
        data=data,
        samples=event.samples,
        accuracy=event.accuracy,
        samples_per_second=event.samples_per_second,
        seconds=event.seconds,
        micro_batch=event.micro_batch,
        peak_bytes=children_peak_bytes + read_memory().peak_bytes,
        budget_bytes=budget_bytes,
        notes=_notes(exported, prepared),
        accuracy_interval=exported.model.task.metric.interval(event.accuracy, event.samples),
        task=exported.model.task,
        further=event.further,
        normalisation=exported.model.normalised_by if exported.model.input_dtype != "int64" else None,
        resize=exported.model.resize,
        shorter_side=exported.model.shorter_side,
        input_dtype=exported.model.input_dtype,
        input=exported.model.input,
    )
