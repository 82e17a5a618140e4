"""Where a stopped run goes on."""

from __future__ import annotations

from pathlib import Path

from planner.runner import paths
from planner.runner.cache import is_finished
from planner.solver.schema import Plan


def first_open_block(out: Path, plan: Plan) -> int:
    """The first block that is not done; 0 where the caches it would train from are gone."""
    for index in range(len(plan.blocks)):
        if paths.result_path(out, index).is_file() and paths.weights_path(out, index).is_file():
            continue
        caches = [paths.cache_path(out, index, part) for part in ("train", "test")]
        return index if all(is_finished(cache) for cache in caches) else 0
    return len(plan.blocks)
