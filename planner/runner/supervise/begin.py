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
from planner.runner.protocol import paths
from planner.runner.protocol.job import Job
from planner.runner.storage.safetensors import whole_checksum
from planner.runner.storage.sealed import read_sealed
from planner.runner.supervise.initial import keep_initial
from planner.runner.supervise.record import read_known
from planner.schema.codec import content_id, read_document, to_json
from planner.schema.plan import Plan
from planner.system.files import LOCK_NAME, make_folder, missing_folders, remove_empty, write_atomically

if TYPE_CHECKING:
    from planner.runner.supervise.supervisor import RunOptions

_FILES = (
    paths.PLAN,
    paths.JOB,
    paths.KNOWN,
    paths.INIT,
    paths.DEVIATIONS,
    paths.MEMORY,
    paths.LOG,
    paths.REPORTED,
)
_RESULTS = (
    paths.REPORT,
    paths.MODEL,
    paths.DESCRIPTION,
    paths.FULL_MODEL,
    paths.FULL_DESCRIPTION,
    paths.EXIT_MODEL,
    paths.EXIT_DESCRIPTION,
)
_INSIDE = {"weights": ("block-*", "exits-*", "frozen.*", "checkpoint.*"), "cache": ("block-*",)}
"""Folders of a run, and what of theirs is its own: other people call folders so too."""
_UNPACKED = "data"
"""Compressed data sets are unpacked into this folder; others may have made it before."""


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


class Footprint:
    """What a session has made in a folder; a session that is refused takes it away again, and nothing besides."""

    def __init__(self, out: Path) -> None:
        """To be made before anything else is."""
        self._out = out
        self._folders = missing_folders(out)
        self._others = {name for name in (LOCK_NAME, *_FILES) if (out / name).exists()}
        self._unpacked = set((out / _UNPACKED).glob("*"))
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
        elif self._claim.is_new and isinstance(error, (InputError, InfeasibleError)) and not is_taken(self._out):
            clear_run(self._out, self._others)
            self._remove()

    def _remove(self) -> None:
        """What goes wrong here must not hide the error that led here."""
        for path in set((self._out / _UNPACKED).glob("*")) - self._unpacked:
            _remove(path)
        if not self._unpacked:
            with suppress(OSError):
                (self._out / _UNPACKED).rmdir()
        if LOCK_NAME not in self._others:
            _remove(self._out / LOCK_NAME)
        remove_empty(self._folders)


def clear_run(out: Path, keep: Collection[str] = ()) -> None:
    """Remove what a run in which nothing was trained has left, but for the files named in `keep`."""
    for name in _FILES:
        if name not in keep:
            _remove(out / name)
    for name, patterns in _INSIDE.items():
        for pattern in patterns:
            for path in (out / name).glob(pattern):
                _remove(path)
        with suppress(OSError):
            (out / name).rmdir()  # only where nothing else lies in it


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


def agree(plan: Plan, out: Path, options: RunOptions) -> Begun:
    """How the session begins; nothing is written. Raises InputError where it cannot."""
    taken = is_taken(out)
    if taken and not options.resume:
        raise InputError(f"{out}: holds a run already; continue it with --resume, or choose another folder with --out")
    if not options.resume or not (taken or (out / paths.PLAN).exists()):
        _check_free(plan, out)
        return Begun(options, is_new=True)
    job, said = _job_before(out)
    mended = (*_check_same_plan(plan, out, job), *said)
    if job is None and taken:
        raise InputError(
            f"{out / paths.JOB}: is damaged or lost, and so is its copy in {paths.KNOWN}: nothing says with which "
            "options the run was begun; choose another folder with --out"
        )
    if job is None:
        return Begun(options, is_new=False)
    return Begun(_as_begun(job, options, plan, out), False, job.init_checksum, mended)


def _check_free(plan: Plan, out: Path) -> None:
    """Raise InputError where somebody else's files have names that a run writes; the plan itself may lie there."""
    if _job_before(out)[0] is not None:
        return  # a run's that came to nothing: nobody's
    names = [name for name in (*_FILES, *_RESULTS) if (out / name).exists() and not _is_plan(out / name, plan)]
    names += [f"{name}/" for name, patterns in _INSIDE.items() if any(any((out / name).glob(p)) for p in patterns)]
    if names:
        raise InputError(
            f"{out}: holds {', '.join(names)}, which the run would overwrite; choose another folder with --out"
        )


def _is_plan(path: Path, plan: Plan) -> bool:
    try:
        return path.name == paths.PLAN and read_document(path, Plan).id == plan.id
    except InputError:
        return False


def is_taken(out: Path) -> bool:
    """Whether something was trained in a folder."""
    memory = out / paths.MEMORY
    if memory.exists() and memory.stat().st_size > 0:
        return True
    return any((out / "weights").glob("block-*")) or any(
        (out / name).exists() for name in (paths.CHECKPOINT, paths.REPORT)
    )


def _job_before(out: Path) -> tuple[Job | None, tuple[str, ...]]:
    """What an earlier session was told, and what is to be said of where that stood."""
    try:
        return read_sealed(out / paths.JOB, Job), ()
    except InputError:
        known = read_known(out)
    if known is None:
        return None, ()
    return known.job, (f"{paths.JOB} was damaged or lost; what it said is taken from {paths.KNOWN}",)


def _check_same_plan(plan: Plan, out: Path, job: Job | None) -> tuple[str, ...]:
    """Raise InputError where a folder holds the run of another plan, or nothing there says of which."""
    kept = out / paths.PLAN
    said: tuple[str, ...] = ()
    try:
        found = read_document(kept, Plan)
        check_plan(found)
        before: str | None = found.id
    except InputError:
        before = None if job is None else job.plan_id
        said = (f"{paths.PLAN} was damaged or lost, and is written anew",)
    if before is None:
        raise InputError(
            f"{kept}: is damaged or lost, and nothing else says of which plan the run in {out} is; choose another "
            "folder with --out"
        )
    if before != plan.id:
        raise InputError(f"{out}: holds a run of another plan; choose another folder with --out")
    return said


def _as_begun(job: Job, options: RunOptions, plan: Plan, out: Path) -> RunOptions:
    """`options` with what the run was begun with. Raises InputError where they ask for something else."""
    training = plan.training
    usual = {"epochs": training.epochs, "max_steps": None, "seed": training.seed}
    for name, default in usual.items():
        asked, begun = getattr(options, name), getattr(job, name)
        if asked is not None and asked != (default if begun is None else begun):
            option = name.replace("_", "-")
            was = f"--{option} {begun}" if begun is not None else f"no --{option}"
            raise InputError(
                f"--{option} is {asked}, but the run in {out} was begun with {was}; resume it so, or choose another "
                "folder with --out"
            )
    # Whether samples are held out decides what is trained on; by how much an exit may be worse is asked at the end.
    tolerance = options.exit_tolerance if options.exit_tolerance is not None else job.exit_tolerance
    if job.exit_tolerance is None:
        tolerance = None
    return replace(options, epochs=job.epochs, max_steps=job.max_steps, seed=job.seed, exit_tolerance=tolerance)


def check_init(begun: Begun, out: Path, trains: bool) -> bool:
    """Whether the weights to begin with are to be kept (again). Raises InputError where they are needed and lost.

    `trains`: whether a block is left that may begin with them.
    """
    given, kept = begun.options.init, out / paths.INIT
    if begun.is_new:
        return given is not None
    try:
        is_whole = begun.init_checksum is None or whole_checksum(kept) == begun.init_checksum
        problem = "holds other weights than the run was begun with"
    except StorageError as error:
        is_whole, problem = False, str(error).removeprefix(f"{kept}: ")
    if is_whole and given is not None:
        raise InputError(f"--init: the run in {out} has begun, with weights of its own; resume it without")
    if is_whole or not trains:
        return False
    if given is None:
        raise InputError(
            f"{kept}: {problem}; it is what the run began with, and is needed to go on: give the same file once more "
            "with --init"
        )
    return True


def lay(plan: Plan, out: Path, begun: Begun, keeps_init: bool) -> Begun:
    """Put into the folder what a session finds there; from here on it is this plan's.

    Raises StorageError, InputError where `--init` is no file of weights, or not the run's.
    """
    if begun.is_new:
        clear_run(out)
    make_folder(out / "weights")
    if keeps_init and begun.options.init is not None:
        begun = _with_init(begun, begun.options.init, out / paths.INIT)
    write_atomically(out / paths.PLAN, to_json(plan))
    return begun


def _with_init(begun: Begun, given: Path, kept: Path) -> Begun:
    keep_initial(given, kept)
    checksum = whole_checksum(kept)
    if begun.is_new:
        return replace(begun, init_checksum=checksum)
    if checksum != begun.init_checksum:
        raise InputError(f"--init: {given} holds other weights than the run was begun with; give the same file")
    said = f"{paths.INIT} was damaged or lost, and is kept anew from the same weights"
    return replace(begun, mended=(*begun.mended, said))
