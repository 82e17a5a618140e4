"""How a session begins in an output folder: what may lie there, what a resumed run keeps, what is laid into it.

A folder belongs to a run once something has been trained there. What a run that came to nothing before that has left is
in nobody's way: the next one begins anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import InfeasibleError, InputError, StorageError
from planner.runner.protocol.job import TrainingJob
from planner.runner.storage.planned_run import PlannedRun
from planner.runner.storage.safetensors import whole_checksum
from planner.runner.storage.sealed import read_sealed
from planner.runner.supervise.initial import keep_initial
from planner.runner.supervise.record import read_known
from planner.schema.codec import content_id, read_document, to_json
from planner.schema.plan import Plan
from planner.schema.report import DataReport
from planner.schema.run_folder import RunFolder
from planner.system.files import make_folder, missing_folders, remove_empty, write_atomically
from planner.system.locks import LOCK_NAME

if TYPE_CHECKING:
    from planner.runner.supervise.supervisor import RunOptions


@dataclass(frozen=True)
class Begun:
    """What a session goes by."""

    options: RunOptions
    """What holds for it: a resumed run keeps what it began with."""
    is_new: bool
    """Whether it begins a run, rather than going on with one."""
    init_checksum: str | None = None
    """Of the weights to begin with, as the run keeps them; none without, and before they are kept."""
    mended: tuple[str, ...] = ()
    """What of an earlier session was damaged, and what is done about it."""
    is_foreign: bool = False
    """Whether the plan is another device's."""
    data: DataReport | None = None
    """The data that the run was begun with; none: it begins now, or that is lost."""
    data_fingerprint: str | None = None
    """The data's."""


class Footprint:
    """What a session has made in a folder; a session that is refused takes it away again, and nothing besides."""

    def __init__(self, folder: RunFolder) -> None:
        """To be made before anything else is."""
        self._folder = folder
        self._lock = folder.path / LOCK_NAME
        self._missing = missing_folders(folder.path)
        self._others = {path for path in (self._lock, *folder.kept()) if path.exists()}
        self._prepared = set(folder.prepared.glob("*"))
        self._claim: Begun | None = None

    def claim(self, begun: Begun) -> None:
        """From here on the run's own files are laid into the folder."""
        self._claim = begun

    def __enter__(self) -> Footprint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            return
        if self._claim is None:
            self._remove()
        elif self._claim.is_new and isinstance(error, (InputError, InfeasibleError)) and not is_taken(self._folder):
            clear_run(self._folder, self._others)
            self._remove()

    def _remove(self) -> None:
        """What goes wrong here must not hide the error that led here."""
        for path in set(self._folder.prepared.glob("*")) - self._prepared:
            _remove(path)
        if not self._prepared:
            with suppress(OSError):
                self._folder.prepared.rmdir()
        if self._lock not in self._others:
            _remove(self._lock)
        remove_empty(self._missing)


def clear_run(folder: RunFolder, keep: Collection[Path] = ()) -> None:
    """Remove what a run in which nothing was trained has left, but for the files in `keep`."""
    for path in folder.kept():
        if path not in keep:
            _remove(path)
    for inner in (folder.weights, folder.caches):
        for path in folder.inside(inner):
            _remove(path)
        with suppress(OSError):
            inner.rmdir()  # only where nothing else lies in it


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_plan(plan: Plan) -> None:
    """Raise InputError where a plan was changed."""
    if content_id(plan) != plan.id:
        raise InputError(f"the plan's content does not match its id {plan.id[:12]}…: it was changed; plan again")


def agree(run: PlannedRun, options: RunOptions) -> Begun:
    """How the session begins; nothing is written. Raises InputError where it cannot."""
    folder = run.folder
    taken = is_taken(folder)
    if taken and not options.resume:
        raise InputError(
            f"{folder.path}: holds a run already; continue it with --resume, or choose another folder with --out"
        )
    if not options.resume or not (taken or folder.plan.exists()):
        _check_free(run)
        return Begun(options, is_new=True)
    job, message = job_before(folder)
    mended = (*_check_same_plan(run, job), *message)
    if job is None and taken:
        raise InputError(
            f"{folder.job}: is damaged or lost, and so is its copy in {folder.known.name}: nothing says with which "
            "options the run was begun; choose another folder with --out"
        )
    if job is None:
        return Begun(options, is_new=False)
    data, lost = _data_before(folder) if job.data_fingerprint else (None, ())
    return Begun(
        _as_begun(job, options, run),
        False,
        job.init_checksum,
        (*mended, *lost),
        data=data,
        data_fingerprint=job.data_fingerprint,
    )


def _data_before(folder: RunFolder) -> tuple[DataReport | None, tuple[str, ...]]:
    """The data that the run was begun with, and what is to be said where that is lost."""
    try:
        return read_sealed(folder.data, DataReport), ()
    except InputError:
        return None, (f"{folder.data.name} was damaged or lost, and is written anew",)


def _check_free(run: PlannedRun) -> None:
    """Raise InputError where somebody else's files have names that a run writes; the plan itself may lie there."""
    folder = run.folder
    if job_before(folder)[0] is not None:
        return  # a run's that came to nothing: nobody's
    names = [path.name for path in (*folder.kept(), *folder.results()) if path.exists() and not _is_plan(path, run)]
    names += [f"{inner.name}/" for inner in (folder.weights, folder.caches) if any(folder.inside(inner))]
    if names:
        raise InputError(
            f"{folder.path}: holds {', '.join(names)}, which the run would overwrite; choose another folder with --out"
        )


def _is_plan(path: Path, run: PlannedRun) -> bool:
    try:
        return path == run.folder.plan and read_document(path, Plan).id == run.plan.id
    except InputError:
        return False


def is_taken(folder: RunFolder) -> bool:
    """Whether something was trained in a folder."""
    if folder.memory.exists() and folder.memory.stat().st_size > 0:
        return True
    return any(folder.weights.glob("block-*")) or folder.checkpoint.exists() or folder.report.exists()


def job_before(folder: RunFolder) -> tuple[TrainingJob | None, tuple[str, ...]]:
    """What an earlier session was told, and what is to be said of where that stood."""
    try:
        return read_sealed(folder.job, TrainingJob), ()
    except InputError:
        known = read_known(folder)
    if known is None:
        return None, ()
    return known.job, (f"{folder.job.name} was damaged or lost; what it said is taken from {folder.known.name}",)


def _check_same_plan(run: PlannedRun, job: TrainingJob | None) -> tuple[str, ...]:
    """Raise InputError where a folder holds the run of another plan, or nothing there says of which."""
    kept, out = run.folder.plan, run.folder.path
    message: tuple[str, ...] = ()
    try:
        found = read_document(kept, Plan)
        check_plan(found)
        before: str | None = found.id
    except InputError:
        before = None if job is None else job.plan_id
        message = (f"{kept.name} was damaged or lost, and is written anew",)
    if before is None:
        raise InputError(
            f"{kept}: is damaged or lost, and nothing else says of which plan the run in {out} is; choose another "
            "folder with --out"
        )
    if before != run.plan.id:
        raise InputError(f"{out}: holds a run of another plan; choose another folder with --out")
    return message


def _as_begun(job: TrainingJob, options: RunOptions, run: PlannedRun) -> RunOptions:
    """`options` with what the run was begun with. Raises InputError where they ask for something else."""
    training = run.plan.training
    usual = {"epochs": training.epochs, "max_steps": None, "seed": training.seed}
    for name, default in usual.items():
        asked, begun = getattr(options, name), getattr(job, name)
        if asked is not None and asked != (default if begun is None else begun):
            option = name.replace("_", "-")
            was = f"--{option} {begun}" if begun is not None else f"no --{option}"
            raise InputError(
                f"--{option} is {asked}, but the run in {run.folder.path} was begun with {was}; resume it so, or "
                "choose another folder with --out"
            )
    # Whether samples are held out decides what is trained on; by how much an exit may be worse is asked at the end.
    tolerance = options.exit_tolerance if options.exit_tolerance is not None else job.exit_tolerance
    if job.exit_tolerance is None:
        tolerance = None
    return replace(options, epochs=job.epochs, max_steps=job.max_steps, seed=job.seed, exit_tolerance=tolerance)


def check_init(begun: Begun, folder: RunFolder, trains: bool) -> bool:
    """Whether the weights to begin with are to be kept (again). Raises InputError where they are needed and lost.

    `trains`: whether a block is left that may begin with them.
    """
    given, kept = begun.options.init, folder.init
    if begun.is_new:
        return given is not None
    try:
        is_whole = begun.init_checksum is None or whole_checksum(kept) == begun.init_checksum
        problem = "holds other weights than the run was begun with"
    except StorageError as error:
        is_whole, problem = False, str(error).removeprefix(f"{kept}: ")
    if is_whole and given is not None:
        raise InputError(f"--init: the run in {folder.path} has begun, with weights of its own; resume it without")
    if is_whole or not trains:
        return False
    if given is None:
        raise InputError(
            f"{kept}: {problem}; it is what the run began with, and is needed to go on: give the same file once more "
            "with --init"
        )
    return True


def lay(run: PlannedRun, begun: Begun, keeps_init: bool) -> Begun:
    """Put into the folder what a session finds there; from here on it is this plan's.

    Raises StorageError, InputError where `--init` is no file of weights, or not the run's.
    """
    folder = run.folder
    if begun.is_new:
        clear_run(folder)
    make_folder(folder.weights)
    if keeps_init and begun.options.init is not None:
        begun = _with_init(begun, begun.options.init, run)
    write_atomically(folder.plan, to_json(run.plan))
    return begun


def _with_init(begun: Begun, given: Path, run: PlannedRun) -> Begun:
    kept = run.folder.init
    keep_initial(given, kept, run.plan.model)
    checksum = whole_checksum(kept)
    if begun.is_new:
        return replace(begun, init_checksum=checksum)
    if checksum != begun.init_checksum:
        raise InputError(f"--init: {given} holds other weights than the run was begun with; give the same file")
    message = f"{kept.name} was damaged or lost, and is kept anew from the same weights"
    return replace(begun, mended=(*begun.mended, message))
