"""Where a stopped run goes on."""

from __future__ import annotations

from pathlib import Path

from planner.runner import paths
from planner.runner.cache import is_finished
from planner.solver.schema import Plan


def first_open_block(out: Path, plan: Plan) -> int:
    """The first block that is not done; an earlier one where the caches it would train from are gone."""
    index = next((index for index in range(len(plan.blocks)) if not _is_done(out, index)), len(plan.blocks))
    while index < len(plan.blocks) and not _has_input(out, plan, index):
        index -= 1
    return index


def _is_done(out: Path, index: int) -> bool:
    return paths.result_path(out, index).is_file() and paths.weights_path(out, index).is_file()


def _has_input(out: Path, plan: Plan, index: int) -> bool:
    if plan.blocks[index].input.kind != "cache":
        return True
    return all(is_finished(paths.cache_path(out, index, part)) for part in ("train", "test"))
