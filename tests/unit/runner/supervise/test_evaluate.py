"""What a run exports is read back and measured: the figures are the report's, and the budget holds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from planner.cli.main import main
from planner.cli.progress import Silent
from planner.errors import InfeasibleError, InputError, OverBudgetError, RunError
from planner.runner.supervise.evaluate import evaluate
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.runner.train.evaluation import MICRO_BATCH
from planner.schema.codec import decode, parse_json, read_document
from planner.schema.report import Evaluation, Report
from planner.schema.run_folder import RunFolder
from planner.system.ends import End
from planner.tasks.accuracy import wilson
from planner.units import MIB
from tests.fault.support import BATCH, small_plan
from tests.unit.runner.storage.test_exported import export
from tests.unit.system.support import environment, mounting, needs_root

TEST_SAMPLES = 1000
"""Of the bundled images."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, so long that all test samples are measured, and of whose exits any is good enough."""
    folder = tmp_path_factory.mktemp("evaluate") / "out"
    options = RunOptions(max_steps=TEST_SAMPLES // BATCH, exit_tolerance=100.0)
    run_plan(small_plan(), "sample", folder, options, Silent())
    return folder


def test_what_comes_out_and_the_exit_are_as_good_as_the_report_says(out: Path) -> None:
    report = read_document(RunFolder(out).report, Report)
    found = evaluate(out, "sample")
    assert (found.samples, found.accuracy) == (report.samples, report.accuracy) == (TEST_SAMPLES, report.accuracy)
    assert found.accuracy_interval == report.accuracy_interval == wilson(report.accuracy, TEST_SAMPLES)
    assert found.accuracy > 0.2  # it has learnt something, so that the figures are no accident
    assert found.parameters == report.best.parameters
    assert report.chosen_exit < report.exits[-1].unit
    chosen = next(each for each in report.exits if each.unit == report.chosen_exit)
    smallest = "model.json" if chosen is report.best else "exit.json"
    smaller = evaluate(out / smallest, "sample")
    assert (smaller.samples, smaller.accuracy) == (TEST_SAMPLES, chosen.accuracy)
    assert smaller.parameters == chosen.parameters
    assert min(found.samples_per_second, smaller.samples_per_second) > 0


def test_the_smallest_budget_that_is_named_is_enough_and_kept(out: Path) -> None:
    with pytest.raises(InfeasibleError, match=r"^1\.0 MiB are too little: one sample at a time does not fit"):
        evaluate(out, "sample", MIB)
    # In a process as small as the command's: this one, with pytest and torch, is none that a budget could hold.
    needed = json.loads(_command(out, MIB).stdout)["minimum_bytes"]
    done = _command(out, needed)
    assert done.returncode == 0, done.stderr
    found = decode(Evaluation, parse_json(done.stdout))
    assert found.peak_bytes <= needed == found.budget_bytes
    assert found.micro_batch < MICRO_BATCH
    assert found.accuracy == read_document(RunFolder(out).report, Report).accuracy


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGKILL, OverBudgetError), (signal.SIGSEGV, OverBudgetError), (signal.SIGILL, RunError)],
)
def test_a_process_that_ends_early_is_told_by_its_signal(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, kind: type[Exception]
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nulimit -c 0\nkill -{number.name[3:]} $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(kind) as caught:
        evaluate(out, "sample")
    assert type(caught.value) is kind
    assert End(-number).explained in str(caught.value)


def _command(out: Path, budget: int) -> subprocess.CompletedProcess[str]:
    words = ["evaluate", str(out), "--data", "sample", "--budget", str(budget), "--json"]
    return subprocess.run([sys.executable, "-m", "planner.cli.main", *words], capture_output=True, text=True)


def test_damaged_weights_are_told(out: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    content = bytearray(RunFolder(tmp_path).model.read_bytes())
    content[-1] ^= 1
    RunFolder(tmp_path).model.write_bytes(content)
    with pytest.raises(RunError, match="its checksum disagrees with its content"):
        evaluate(tmp_path, "sample")


@needs_root
def test_a_model_that_can_only_be_read_is_measured(out: Path, tmp_path: Path) -> None:
    """Compressed data has to be unpacked somewhere: not here."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    script = 'mount --bind -o ro "$1" "$2" && mount -o remount,bind,ro "$2" && shift 2 && exec "$@"'
    wrapper = ["unshare", "--mount", "sh", "-c", script, "sh", str(out), str(mounted)]
    tried = subprocess.run([*wrapper, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"needs a mount namespace of its own: {tried.stderr.strip()}")
    assert subprocess.run([*wrapper, "touch", str(mounted / "file")], capture_output=True).returncode != 0
    words = [sys.executable, "-m", "planner.cli.main", "evaluate", str(mounted), "--data", "sample", "--json"]
    before = sorted(path.name for path in out.iterdir())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run([*wrapper, *words], env=environment(TMPDIR=str(scratch)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = decode(Evaluation, parse_json(done.stdout))
    assert found.accuracy == read_document(RunFolder(out).report, Report).accuracy
    assert sorted(path.name for path in out.iterdir()) == before
    assert not any(scratch.iterdir())


def test_data_that_can_be_prepared_in_memory_alone_counts_in_the_budget(out: Path, tmp_path: Path) -> None:
    """Every place for temporary files is a tmpfs there, and so is the model's folder."""
    memory = tmp_path / "memory"
    memory.mkdir()
    wrapper = [*mounting(memory), *mounting(Path("/var/tmp"))]
    script = 'cp "$1/model.json" "$1/model.safetensors" "$1/data.json" "$2" && cd "$2" && shift 2 && exec "$@"'
    words = [sys.executable, "-m", "planner.cli.main", "evaluate", ".", "--data", "sample", "--json"]

    def run(*more: str, wrapped: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", script, "sh", str(out), str(memory), *words, *more]
        variables = environment(TMPDIR=str(memory))
        return subprocess.run([*(wrapper if wrapped else []), *command], env=variables, capture_output=True, text=True)

    found = decode(Evaluation, parse_json(run().stdout))
    stored = decode(Evaluation, parse_json(run(wrapped=False).stdout))
    records = TEST_SAMPLES * (28 * 28 + 8)
    assert found.accuracy == stored.accuracy
    assert found.peak_bytes - stored.peak_bytes == pytest.approx(records, abs=4 * MIB)
    least = json.loads(run("--budget", "1MiB").stdout)["minimum_bytes"]
    done = run("--budget", str(least))
    assert done.returncode == 0, done.stderr
    assert decode(Evaluation, parse_json(done.stdout)).peak_bytes <= least


def test_data_that_does_not_fit_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its images are 1×28×28, but cnn6 takes 1×8×8"):
        evaluate(export(tmp_path / "out"), "sample")


def test_the_command_names_its_exit_codes(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(out), "--data", "sample", "--budget", "1MiB", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["minimum_bytes"] > 100 * MIB
    assert main(["evaluate", str(out / "gone"), "--data", "sample"]) == 2
    assert "gone" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--data", "sample"]) == 0
    assert "of 1,000 test samples (95% interval: " in capsys.readouterr().out
