"""A run's data: prepared within the budget, and counted in it where the output folder is memory. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from planner.data.pace import Progress
from planner.data.prepare import Prepared, Wanted, prepare_in_child
from planner.errors import InputError
from planner.model.tokens import token_limit
from planner.runner.storage.planned_run import PlannedRun
from planner.runner.supervise.begin import Begun, is_taken
from planner.runner.supervise.folder_bytes import FolderBytes, SampleCounts, check_folder, folder_bytes
from planner.runner.supervise.own_memory import allowed_bytes
from planner.schema.plan import Plan
from planner.schema.report import DataReport
from planner.schema.run_folder import RunFolder
from planner.system.proc import read_memory


@dataclass(frozen=True)
class InMemory:
    """An output folder that is memory."""

    stored: FolderBytes
    """What the run keeps there."""
    text: str
    """What a person should know of it."""


def kept_in_memory(run: PlannedRun, begun: Begun, data: str, prepared: Prepared, kind: str) -> InMemory | None:
    """What counts in the budget because the output folder is memory, of that kind; none where the budget is a GPU's.

    Raises InfeasibleError where the budget does not hold it.
    """
    plan, out = run.plan, run.folder.path
    if plan.device.is_accelerator:
        return None
    counts = [part.samples for part in prepared.description.parts]
    samples = SampleCounts(prepared.description.training_samples, sum(counts[1:]))
    data_bytes = prepared.storage_bytes + _inside_bytes(run.folder, data)
    files = (run.folder.init, begun.options.init)
    init_bytes = sum(path.stat().st_size for path in files if path is not None and path.is_file())
    stored = folder_bytes(plan, samples, begun.options.epochs or plan.training.epochs, data_bytes, init_bytes)
    return InMemory(stored, check_folder(plan, stored, f"{out} ({kind})", read_memory().peak_bytes))


def _inside_bytes(folder: RunFolder, data: str) -> int:
    """Length of a data set that was written into the output folder for this run (`planner.run`)."""
    path = Path(data)
    return path.stat().st_size if path.is_file() and path.resolve().is_relative_to(folder.path.resolve()) else 0


def prepare_data(
    run: PlannedRun,
    data: str,
    begun: Begun,
    trains: bool,
    in_memory: bool,
    on_progress: Callable[[Progress], None],
) -> Prepared:
    """Have the data prepared, within the budget.

    Args:
        run: what is run, and where.
        data: name or path of the data set.
        begun: what the run begins with.
        trains: whether a block is left to train.
        in_memory: whether the output folder is memory.
        on_progress: called with how far it has come.

    Raises:
        InputError: the data is not what the run was begun with, or does not fit the model.
        DataError, OverBudgetError, RunError: as `prepare_in_child`.
    """
    plan, out = run.plan, run.folder.path
    if trains and not begun.is_new and is_taken(run.folder) and begun.data_fingerprint is None:
        raise InputError(
            f"{out}: its run was begun by an earlier release, which held out other samples to test on; going on would "
            "train on them. Finish it with that release, or begin anew: another folder with --out"
        )
    prepared = prepare_in_child(
        Wanted(
            data=data,
            work_dir=str(out),
            input=plan.model.input,
            input_dtype=plan.model.input_dtype,
            tokens=token_limit(plan.model),
            classes=plan.model.classes,
            called="the plan's model",
            task=plan.model.task,
            seed=plan.training.seed if begun.options.seed is None else begun.options.seed,
            class_names=plan.class_names,
            allowed_bytes=_preparing_bytes(plan) if begun.options.guard else None,
            in_memory=in_memory,
            known=begun.data.description if begun.data else None,
            resize=plan.resize,
            shorter_side=plan.shorter_side,
            validation=begun.options.validation or (begun.data.description.validation if begun.data else None),
        ),
        on_progress,
    )
    if begun.data_fingerprint not in (None, prepared.description.fingerprint):
        raise InputError(
            f"{data}: is not the data that the run in {out} was begun with; resume it with that, or choose another "
            "folder with --out"
        )
    return prepared


def _preparing_bytes(plan: Plan) -> int | None:
    """What preparing the data may take beside this process; none where the budget is of another memory."""
    if plan.device.is_accelerator:
        return None
    return allowed_bytes(plan) + (plan.baseline_bytes if plan.budget.scope == "training" else 0)


def data_report(prepared: Prepared, begun: Begun) -> DataReport:
    """What was prepared, with the highest peak of all sessions."""
    before = begun.data.prepare_peak_bytes if begun.data else 0
    peak = max(before, prepared.peak_bytes + read_memory().peak_bytes)
    return DataReport(prepared.description, prepared.storage_bytes, peak)


def unused_validation(plan: Plan, begun: Begun) -> tuple[str, ...]:
    """What is to be said of a validation part that was named and by which nothing is chosen."""
    if begun.options.validation is None:
        return ()
    if begun.options.exit_tolerance is None:
        return ("--validation is not used: without --exit-tolerance no exit is chosen by it",)
    return () if len(plan.exits) > 1 else ("--validation is not used: the plan has one exit, so there is no choice",)
