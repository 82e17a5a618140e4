"""One list of a run's files: each has a place of its own, and nobody else's file is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.schema.run_folder import PARTS, RunFolder


def test_every_file_has_a_place_of_its_own_within_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    files = [path for name, path in vars(folder).items() if name not in ("path", "weights", "caches", "unpacked")]
    for block in (0, 7, 1234):
        files += [folder.block_weights(block), folder.block_result(block), folder.block_exits(block)]
        files += [folder.block_cache(block, part) for part in PARTS]
    assert len(set(files)) == len(files)
    assert all(tmp_path in file.parents for file in files)


def test_what_is_kept_and_what_comes_out_are_all_the_files_beside_the_inner_folders(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    beside = {path for path in vars(folder).values() if path.parent == tmp_path and path.suffix}
    assert {*folder.kept(), *folder.results()} == beside
    assert not {*folder.kept()} & {*folder.results()}


@pytest.mark.parametrize("inner", ["weights", "cache"])
def test_only_a_runs_own_names_are_listed_within_its_folders(tmp_path: Path, inner: str) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / inner).mkdir()
    own = {
        "weights": [folder.block_weights(3), folder.block_result(3), folder.block_exits(3), folder.frozen],
        "cache": [folder.block_cache(3, part) for part in PARTS],
    }[inner]
    for path in (*own, tmp_path / inner / "resnet.safetensors", tmp_path / inner / "pictures"):
        path.write_text("")
    assert sorted(folder.inside(tmp_path / inner)) == sorted(own)
