"""A run of two blocks on bundled images, child and supervisor both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner.cli.progress import Silent
from planner.errors import InputError
from planner.model.zoo import from_zoo
from planner.runner.protocol.events import BlockDone
from planner.runner.storage.sealed import read_sealed
from planner.runner.supervise.own_memory import allowed_bytes
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.schema.codec import content_id, read_document
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from tests.unit.runner.train.test_block import make_plan, this_device

BLOCKS = 2


def two_blocks() -> Plan:
    """Two blocks of cnn6, on images of the sample's size."""
    plan = replace(make_plan((0, 2), (2, 6)), model=from_zoo("cnn6", (1, 28, 28), 10))
    return replace(plan, id=content_id(plan))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run") / "out"
    run_plan(two_blocks(), "sample", folder, RunOptions(max_steps=1), Silent())
    return folder


def test_every_block_says_how_fast_the_device_was(out: Path) -> None:
    report = read_document(RunFolder(out).report, Report)
    told = [read_sealed(RunFolder(out).block_result(index), BlockDone).calibration_seconds for index in range(BLOCKS)]
    assert [block.calibration_seconds for block in report.blocks] == told
    assert all(seconds is not None and 0 < seconds < 60 for seconds in told)


def test_a_result_without_that_is_still_read(out: Path) -> None:
    """A run that an earlier release began is resumed."""
    for index in range(BLOCKS):
        path = RunFolder(out).block_result(index)
        text = path.read_text()
        begin = text.index(',\n "calibration_seconds"')
        path.write_text(text[:begin] + "\n}")
    report = run_plan(two_blocks(), "sample", out, RunOptions(resume=True), Silent())
    assert [block.calibration_seconds for block in report.blocks] == [None] * BLOCKS


def test_a_plan_for_a_gpu_is_refused_where_torch_reaches_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    plan = two_blocks()
    plan = replace(plan, device=this_device("cuda"))
    plan = replace(plan, id=content_id(plan))
    said = r"a GPU was asked for \(--device cuda\), but torch .* reaches none.*--device cpu"
    with pytest.raises(InputError, match=said):
        run_plan(plan, "sample", tmp_path / "out", RunOptions(max_steps=1), Silent())
    # The child was to have all of the budget: the supervisor takes nothing of a GPU's memory.
    assert allowed_bytes(plan) == plan.budget.bytes
    assert not (tmp_path / "out").exists()
