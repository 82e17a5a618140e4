"""Folders of jobs: what a killed worker left is removed by the next one, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from api.jobs.measure import _own_folder, clear_leftovers


def test_what_a_killed_worker_left_is_removed_and_what_a_living_one_has_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, foreign, elsewhere = (tmp_path / name for name in ("neuroflux-job-left", "neuroflux-job-link", "elsewhere"))
    left.mkdir()
    elsewhere.mkdir()
    (left / "request.json").write_text("{}")
    foreign.symlink_to(elsewhere)
    with _own_folder() as held:
        clear_leftovers()
        assert sorted(tmp_path.iterdir()) == sorted([held, foreign, elsewhere])
    assert sorted(tmp_path.iterdir()) == sorted([foreign, elsewhere])
    assert not list(elsewhere.iterdir())
