"""The same network by backpropagation besides: as the run was, outside its budget, and of no harm to it."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from planner.cli.main import main
from planner.cli.progress import Silent
from planner.errors import InterruptedRunError
from planner.runner.protocol.events import Event, Step
from planner.runner.supervise.compare import backprop_plan, compare
from planner.runner.supervise.comparison import compared_before
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.schema.codec import content_id, decode, encode, read_document, to_json
from planner.schema.plan import Plan
from planner.schema.report import ComparisonReport, Report
from planner.schema.run_folder import RunFolder
from planner.units import MIB
from tests.fault.support import FROZEN, frozen_plan, polished_plan, small_plan

STEPS = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was compared, by the command."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "plan.json").write_text(to_json(small_plan()))
    words = ["run", folder / "plan.json", "--data", "sample", "--out", folder / "out", "--max-steps", STEPS, "--quiet"]
    assert main([*map(str, words), "--compare", "backprop", "--json"]) == 0
    return RunFolder(folder / "out")


def _untouched(run: RunFolder) -> dict[str, bytes]:
    """What is the run's own, by name."""
    files = [run.model, run.description, run.memory, run.plan, run.job, *sorted(run.weights.iterdir())]
    return {file.name: file.read_bytes() for file in files}


def _copy(run: RunFolder, to: Path) -> RunFolder:
    """The run without its comparison."""
    copied = RunFolder(Path(shutil.copytree(run.path, to)))
    shutil.rmtree(copied.comparison)
    copied.report.write_text(to_json(replace(read_document(run.report, Report), comparison=None)))
    return copied


def test_a_run_is_compared_with_the_same_network_on_the_same_samples(run: RunFolder) -> None:
    report, other = (read_document(folder.report, Report) for folder in (run, RunFolder(run.comparison)))
    found, full = report.comparison, other.exits[-1]
    assert found is not None and found.problem is None
    assert (found.accuracy, found.steps, found.micro_batch, found.accumulate) == (full.accuracy, STEPS, 8, 1)
    assert found.points_behind == pytest.approx(100 * (full.accuracy - report.accuracy))
    assert found.full_points_behind == pytest.approx(100 * (full.accuracy - report.exits[-1].accuracy))
    assert report.data is not None and other.data is not None
    assert other.data.description == report.data.description
    own = report.exits[-1]
    assert (full.samples, full.validation_samples) == (own.samples, own.validation_samples)
    assert full.parameters == own.parameters
    trained = read_document(RunFolder(run.comparison).plan, Plan)
    assert [segment.units for block in trained.blocks for segment in block.segments] == [(0, 6)]
    assert not RunFolder(run.comparison).records.exists()


def test_what_the_run_said_of_itself_is_what_it_says_without(run: RunFolder) -> None:
    report = read_document(run.report, Report)
    assert [block.steps for block in report.blocks] == [STEPS] * 3
    lines = run.memory.read_text().splitlines()
    assert len(lines) == 3 * STEPS
    assert report.budget_bytes == small_plan().budget.bytes


def test_a_report_that_is_made_anew_keeps_the_comparison(run: RunFolder) -> None:
    report = read_document(run.report, Report)
    assert report.comparison is not None
    anew = replace(report, comparison=None, accuracy=report.accuracy / 2)
    kept = compared_before(anew, run).comparison
    assert kept is not None and report.comparison.accuracy is not None
    assert kept.points_behind == pytest.approx(100 * (report.comparison.accuracy - report.accuracy / 2))
    assert replace(kept, points_behind=0.0) == replace(report.comparison, points_behind=0.0)
    assert compared_before(replace(anew, plan_id="other"), run).comparison is None


def test_a_comparison_that_fails_harms_nothing_and_is_told(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = _copy(run, tmp_path / "out")
    own = _untouched(copied)
    copied.comparison.mkdir()
    (copied.comparison / "memory.jsonl").write_text("somebody else's\n")
    plan, report = read_document(copied.plan, Plan), read_document(copied.report, Report)
    found = compare(plan, "sample", report, copied, RunOptions(), lambda _: Silent())
    assert found.comparison is not None
    assert "holds a run already" in (found.comparison.problem or "")
    assert found == read_document(copied.report, Report)
    assert replace(found, comparison=None) == report
    assert _untouched(copied) == own

    words = ["run", copied.plan, "--data", "sample", "--out", copied.path, "--resume", "--compare", "backprop"]
    assert main([*map(str, words), "--quiet"]) == 4
    said = capsys.readouterr()
    assert "within" not in said.err
    assert "the comparison by backpropagation failed: " in said.err
    assert "what the run has trained is kept. Compare again with:" in said.err
    assert "--resume --compare backprop" in said.err
    assert _untouched(copied).keys() == own.keys()
    assert (copied.comparison / "memory.jsonl").read_text() == "somebody else's\n"


class _Stopping:
    """Stops this process, as Ctrl-C does, at the second step."""

    def observe(self, event: Event) -> None:
        if isinstance(event, Step) and event.step == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_comparison_that_is_stopped_goes_on_where_it_was(run: RunFolder, tmp_path: Path) -> None:
    copied = _copy(run, tmp_path / "out")
    own = _untouched(copied)
    plan, report = read_document(copied.plan, Plan), read_document(copied.report, Report)
    options = RunOptions(checkpoint_seconds=0)
    with pytest.raises(InterruptedRunError, match="the run is done, its comparison by backpropagation stopped"):
        compare(plan, "sample", report, copied, options, lambda _: _Stopping())
    assert read_document(copied.report, Report).comparison == ComparisonReport("it was stopped")
    assert _untouched(copied) == own
    found = compare(plan, "sample", report, copied, replace(options, resume=True), lambda _: Silent())
    before = read_document(run.report, Report).comparison
    assert found.comparison is not None and before is not None
    # Stopped or not, the same network comes out.
    assert found.comparison.accuracy == before.accuracy
    other = RunFolder(copied.comparison)
    assert other.model.read_bytes() == RunFolder(run.comparison).model.read_bytes()
    assert any("resumed at block 0, step " in text for text in read_document(other.report, Report).deviations)


@pytest.mark.parametrize("plan", [small_plan(), polished_plan(), frozen_plan()], ids=["plain", "polished", "frozen"])
def test_the_other_plan_is_one_segment_of_all_that_is_trained(plan: Plan) -> None:
    found = backprop_plan(plan, 500 * MIB)
    first = plan.training.freeze
    assert first in (0, FROZEN)
    (block,) = found.blocks
    assert [segment.units for segment in block.segments] == [(first, len(plan.model.units))]
    assert block.input.kind == ("recompute" if first else "data")
    assert [setting.micro_batch for setting in block.settings] == [8, 4, 2, 1]
    assert (found.strategy, found.polish, found.budget.bytes) == ("backprop", None, 500 * MIB)
    recipe = replace(plan.training, polish=0, polish_lr=None)
    assert found.training == recipe
    assert found.id == content_id(found)
    assert decode(Plan, encode(found)) == found


def test_a_plan_that_holds_samples_out_is_compared_with_one_that_does(run: RunFolder, tmp_path: Path) -> None:
    assert all(found.validation_accuracy is not None for found in read_document(run.report, Report).exits)
    other = read_document(RunFolder(run.comparison).report, Report)
    assert other.exits[-1].validation_accuracy is not None
    out = tmp_path / "none"
    report = run_plan(small_plan(), "sample", out, RunOptions(max_steps=1), Silent())
    folder = RunFolder(out)
    found = compare(small_plan(), "sample", report, folder, RunOptions(max_steps=1), lambda _: Silent())
    assert found.comparison is not None and found.comparison.problem is None
    assert found.comparison.validation_accuracy is None
