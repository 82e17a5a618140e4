"""Where a stopped run goes on: at the first block that is not done; and what of it may go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from planner.runner.supervise.resume import clear_leftovers, first_open_block
from planner.schema.run_folder import RunFolder
from tests.unit.runner.contexts import planned_run
from tests.unit.runner.train.test_block import make_plan


def _write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")


@pytest.mark.parametrize(("done", "begin"), [((), 0), ((0,), 1), ((0, 1), 2), ((0, 1, 2), 3), ((1, 2), 0), ((0, 2), 1)])
def test_the_block_to_begin_with(tmp_path: Path, done: tuple[int, ...], begin: int) -> None:
    for index in done:
        _write(RunFolder(tmp_path).block_weights(index))
        _write(RunFolder(tmp_path).block_result(index))
    assert first_open_block(planned_run(make_plan((0, 2), (2, 4), (4, 6)), tmp_path)) == begin


@pytest.mark.parametrize("path", [RunFolder.block_weights, RunFolder.block_result])
def test_a_block_is_done_when_weights_and_result_are_there(
    tmp_path: Path, path: Callable[[RunFolder, int], Path]
) -> None:
    _write(path(RunFolder(tmp_path), 0))
    assert first_open_block(planned_run(make_plan((0, 2), (2, 6)), tmp_path)) == 0


def test_half_written_files_and_caches_of_blocks_that_are_done_go_and_nothing_else_does(tmp_path: Path) -> None:
    kept = [
        RunFolder(tmp_path).plan,
        RunFolder(tmp_path).block_weights(0),
        RunFolder(tmp_path).block_cache(2, "train") / "done",
        RunFolder(tmp_path).block_cache(3, "test") / "shard-00000.bin",
    ]
    gone = [
        tmp_path / ".report.json.0123.partial",
        tmp_path / "weights" / ".checkpoint.safetensors.0123.partial",
        RunFolder(tmp_path).block_cache(1, "train") / "done",
        RunFolder(tmp_path).block_cache(1, "test") / "shard-00000.bin",
    ]
    for file in (*kept, *gone):
        _write(file)
    clear_leftovers(planned_run(make_plan((0, 1), (1, 2), (2, 4), (4, 6)), tmp_path), 2)
    assert [file.exists() for file in kept] == [True] * len(kept)
    assert [file.exists() for file in gone] == [False] * len(gone)
