"""`neuroflux report` of a run that is not finished."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from planner.cli.main import main
from planner.runner.protocol.job import TrainingJob
from planner.runner.storage.sealed import write_sealed
from planner.schema.run_folder import RunFolder
from planner.system.locks import lock_folder
from tests.unit.report.documents import write_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run that was stopped, in a folder whose name a shell would take apart."""
    out = write_run(tmp_path / "my runs" / "first")
    RunFolder(out).report.unlink()
    write_sealed(RunFolder(out).job, TrainingJob(str(out), "my data"))
    return out


def test_how_far_it_came_and_how_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["report", str(folder)]) == 0
    said = capsys.readouterr()
    for words in (
        "not finished, and stopped",
        "2 of 2 (delta..omega)",
        "1 of the block, in epoch 1",
        "3 steps in 5.5 s",
    ):
        assert words in said.out
    assert "239.4 MiB of 267.0 MiB" in said.out  # 251 000 000 and 280 000 000 bytes
    command = shlex.split(said.err.splitlines()[-1])
    resume = ["run", str(RunFolder(folder).plan), "--data", "my data", "--out", str(folder), "--resume"]
    assert command == ["neuroflux", *resume]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_that_goes_on_is_told_by_its_process(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_folder(folder):
        assert main(["report", str(folder)]) == 0
    said = capsys.readouterr()
    assert f"not finished; process {os.getpid()} is at it" in said.out
    assert "--resume" not in said.err


def test_one_that_has_not_begun_to_train(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder(folder).memory.unlink()
    RunFolder(folder).job.unlink()
    assert main(["report", str(folder)]) == 0
    said = capsys.readouterr()
    assert "block" not in said.out
    assert "--data D " in said.err


def test_as_a_document_there_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder), "--json"]) == 2
    assert "the run has not finished; go on with it (neuroflux run --resume)" in capsys.readouterr().err


def test_a_folder_without_a_plan_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "plan.json: cannot be read" in capsys.readouterr().err
