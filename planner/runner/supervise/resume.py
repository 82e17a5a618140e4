"""Where a stopped run goes on, what of it may go, and what of it storage has spoiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from planner.errors import InputError, StorageError
from planner.heads.pooled import PooledHead
from planner.runner.protocol.events import BlockDone
from planner.runner.protocol.position import read_position
from planner.runner.storage.cache import remove_cache
from planner.runner.storage.planned_run import PlannedRun
from planner.runner.storage.safetensors import whole_checksum
from planner.runner.storage.sealed import read_sealed
from planner.schema.run_folder import PARTS, RunFolder
from planner.system.files import remove_partials, storage_errors


def first_open_block(run: PlannedRun) -> int:
    """The first block that is not done; the number of blocks where all are."""
    count = len(run.plan.stages)
    return next((index for index in range(count) if not _is_done(run.folder, index)), count)


def _is_done(folder: RunFolder, index: int) -> bool:
    return folder.block_result(index).is_file() and folder.block_weights(index).is_file()


def clear_leftovers(run: PlannedRun, first_block: int) -> None:
    """Remove what a killed session left: half-written files, and caches of blocks that are done.

    Only for who holds the folder's lock. Raises StorageError.
    """
    for each in (run.folder.path, run.folder.weights):
        remove_partials(each)
    for index in range(min(first_block, len(run.plan.stages))):
        for part in PARTS:
            remove_cache(run.folder.block_cache(index, part))


@dataclass(frozen=True)
class Damage:
    """What of an earlier session cannot be used."""

    text: str
    """What is damaged, and what is done about it."""
    files: tuple[Path, ...]
    """What has to go for that."""

    def remove(self) -> None:
        """Let it go. Raises StorageError."""
        for file in self.files:
            with storage_errors(file):
                file.unlink(missing_ok=True)


def find_damage(run: PlannedRun) -> list[Damage]:
    """What storage has spoiled of frozen units and of blocks that are done; every byte of them is read.

    Blocks behind one that is trained or measured again are measured again too: their results go, their weights stay,
    and whether these still belong to what lies before them is seen when their turn comes.
    """
    found = [*_frozen_damage(run)]
    for index in range(len(run.plan.stages)):
        damage = _block_damage(run, index)
        if damage is not None:
            later = range(index + 1, len(run.plan.stages))
            results = map(run.folder.block_result, later)
            found.append(replace(damage, files=(*damage.files, *results)))
    return found


def _frozen_damage(run: PlannedRun) -> Iterator[Damage]:
    path = run.folder.frozen
    if run.plan.training.freeze == 0 or not any(run.folder.weights.glob("block-*")):
        return
    problem = _problem(path)
    if problem is not None:
        yield Damage(f"the frozen units' weights are written anew: {problem}", (path,))


def _block_damage(run: PlannedRun, index: int) -> Damage | None:
    folder, name = run.folder, run.plan.stage_name(index)
    weights, result, exits = folder.block_weights(index), folder.block_result(index), folder.block_exits(index)
    if not weights.exists() and not result.exists():
        return None
    problem = _problem(weights) or _wrong_position(weights, index)
    if problem is not None:
        text = f"{name} is trained again: {problem}"
        files = [weights, result, exits]
        later = _checkpointed(folder)
        if later is not None and later > index:
            text += f"; {run.plan.stage_name(later)} begins anew behind it"
            files.append(folder.checkpoint)
        return Damage(text, tuple(files))
    problem = _result_problem(run, index)
    return None if problem is None else Damage(f"{name} is measured again: {problem}", (result, exits))


def _problem(path: Path) -> str | None:
    """Why a file of tensors cannot be used; none where it is whole."""
    if not path.exists():
        return f"{path} is lost"
    try:
        whole_checksum(path)
    except StorageError as error:
        return str(error)
    return None


def _wrong_position(weights: Path, index: int) -> str | None:
    try:
        position = read_position(weights)
    except StorageError as error:
        return str(error)
    return None if position is not None and position.block == index else f"{weights} is another block's"


def _checkpointed(folder: RunFolder) -> int | None:
    """The block that the checkpoint is of; none without one that can be read."""
    try:
        position = read_position(folder.checkpoint)
    except StorageError:
        return None
    return None if position is None else position.block


def _result_problem(run: PlannedRun, index: int) -> str | None:
    """Why a trained block's result cannot be used; none where it can, or is not there yet."""
    result = run.folder.block_result(index)
    if not result.exists():
        return None
    try:
        done = read_sealed(result, BlockDone)
    except InputError as error:
        return str(error)
    if done.block != index:
        return f"{result} is another block's"
    pooled = {planned.unit for planned in run.plan.exits_of(index) if isinstance(planned.head, PooledHead)}
    return _problem(run.folder.block_exits(index)) if any(each.unit in pooled for each in done.exits) else None
