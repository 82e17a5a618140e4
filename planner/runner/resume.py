"""Where a stopped run goes on, and what of it may go."""

from __future__ import annotations

from pathlib import Path

from planner.runner import paths
from planner.runner.cache import remove_cache
from planner.solver.schema import Plan
from planner.system.files import remove_partials


def first_open_block(out: Path, plan: Plan) -> int:
    """The first block that is not done; the number of blocks where all are."""
    return next((index for index in range(len(plan.blocks)) if not _is_done(out, index)), len(plan.blocks))


def _is_done(out: Path, index: int) -> bool:
    return paths.result_path(out, index).is_file() and paths.weights_path(out, index).is_file()


def clear_leftovers(out: Path, plan: Plan, first_block: int) -> None:
    """Remove what a killed session left: half-written files, and caches of blocks that are done.

    Only for who holds the folder's lock. Raises StorageError.
    """
    for folder in (out, out / "weights"):
        remove_partials(folder)
    for index in range(min(first_block, len(plan.blocks))):
        for part in paths.PARTS:
            remove_cache(paths.cache_path(out, index, part))
