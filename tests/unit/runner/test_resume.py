"""Where a stopped run goes on: at the first block that is not done, if what it reads is still there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from planner.runner import paths
from planner.runner.resume import first_open_block

from .test_block import make_plan
from .test_methods import with_recomputed_input


def _write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")


@pytest.mark.parametrize(
    ("done", "recomputing", "caches", "begin"),
    [
        ((), (), (), 0),
        ((0,), (), (1,), 1),
        ((0,), (), (), 0),
        ((0, 1), (), (2,), 2),
        ((0, 1), (), (), 0),
        ((0, 1), (), (1,), 1),
        ((0,), (1,), (), 1),
        ((0, 1), (1,), (2,), 2),
        ((0, 1), (1,), (), 1),
        ((0, 1), (1, 2), (), 2),
        ((0, 1), (2,), (), 2),
        ((0, 1, 2), (1, 2), (), 3),
        ((0, 1, 2), (), (), 3),
        ((1, 2), (1, 2), (), 0),
    ],
)
def test_the_block_to_begin_with(
    tmp_path: Path, done: tuple[int, ...], recomputing: tuple[int, ...], caches: tuple[int, ...], begin: int
) -> None:
    plan = make_plan((0, 2), (2, 4), (4, 6))
    for index in recomputing:
        plan = with_recomputed_input(plan, index)
    for index in done:
        _write(paths.weights_path(tmp_path, index))
        _write(paths.result_path(tmp_path, index))
    for index in caches:
        for part in ("train", "test"):
            _write(paths.cache_path(tmp_path, index, part) / "done")
    assert first_open_block(tmp_path, plan) == begin


@pytest.mark.parametrize("missing", ["train", "test"])
def test_half_of_a_blocks_caches_is_not_enough(tmp_path: Path, missing: str) -> None:
    plan = make_plan((0, 2), (2, 6))
    for file in (paths.weights_path(tmp_path, 0), paths.result_path(tmp_path, 0)):
        _write(file)
    for part in ("train", "test"):
        _write(paths.cache_path(tmp_path, 1, part) / ("done" if part != missing else "shard-00000.bin"))
    assert first_open_block(tmp_path, plan) == 0


@pytest.mark.parametrize("path", [paths.weights_path, paths.result_path])
def test_a_block_is_done_when_weights_and_result_are_there(tmp_path: Path, path: Callable[[Path, int], Path]) -> None:
    _write(path(tmp_path, 0))
    assert first_open_block(tmp_path, with_recomputed_input(make_plan((0, 2), (2, 6)), 1)) == 0
