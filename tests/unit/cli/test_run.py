"""`neuroflux run`: how it ends."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from planner.cli import run
from planner.cli.main import main
from planner.cli.progress import Silent
from planner.runner.protocol.events import ChildReady, Preparing, Warned
from planner.runner.supervise import supervisor
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.report import PeakPosition, Report
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import make_plan
from planner.units import MIB
from tests.unit.report.documents import PLAN, REPORT
from tests.unit.solver.chains import SGD, zoo_profile

OVER = replace(
    REPORT,
    peak_bytes=REPORT.budget_bytes + 3 * MIB,
    within_budget=False,
    peak=PeakPosition("validate", 1, 69),
)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("report", "code"), [(REPORT, 0), (OVER, 4)])
def test_a_run_above_its_budget_does_not_end_with_0(
    report: Report,
    code: int,
    as_json: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A run that passes its budget whatever the guard does cannot be had at will; tests/integration has the real ones.
    monkeypatch.setattr(supervisor, "run_plan", lambda *_: report)
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    (tmp_path / "plan.json").write_text(to_json(PLAN))
    words = [str(tmp_path / "plan.json"), "--data", "sample", "--out", str(tmp_path / "out"), "--quiet"]
    assert run.run(parser.parse_args([*words, *(["--json"] if as_json else [])])) == code
    said = capsys.readouterr()
    if as_json:
        assert decode(Report, parse_json(said.out)) == report
    told = "in block 1 while its heads were measured, behind 69 optimizer steps: 270.0 MiB, 3.0 MiB more than 267.0 MiB"
    assert (told in said.err) == (code == 4)


def test_frozen_units_that_nobody_has_trained_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "run_plan", lambda *_: REPORT)
    file, warning = tmp_path / "plan.json", "warning: the plan freezes the first unit, and no --init gives weights"
    for freeze, more, warned in ((1, [], True), (1, ["--init", "w"], False), (1, ["--resume"], False), (0, [], False)):
        training = Training(16, 1, 1000, SGD, freeze=freeze)
        file.write_text(to_json(make_plan(zoo_profile("cnn6", (1, 16)), Request(Budget(2**31, "process"), training))))
        words = ["run", str(file), "--data", "sample", "--out", str(tmp_path / "out"), "--quiet", *more]
        assert main(words) == 0
        assert (warning in capsys.readouterr().err) == warned


def test_a_run_has_not_begun_while_its_data_is_prepared(capsys: pytest.CaptureFixture[str]) -> None:
    """It may still be refused: nobody is told of it, and no command goes on with it."""
    begun: list[str] = []
    announcing = run._Announcing(Silent(), lambda: begun.append("begun"))
    announcing.observe(Preparing("preparing", "writing", 3, 4))
    announcing.observe(Warned("warning", "something"))
    announcing.observe(ChildFailed("failed", 2, "refused"))
    assert begun == []
    assert capsys.readouterr().err == "warning: something\n"
    announcing.observe(ChildReady("ready", 1, 1))
    assert begun == ["begun"] and announcing.has_begun


@pytest.mark.parametrize(
    ("where", "data", "out"),
    [
        ("train", ".", None),
        ("train/a", "..", None),
        ("train", "{data}", None),
        (".", "train", "train/out"),
        (".", "link", "train/out"),
    ],
)
def test_the_output_never_lies_inside_the_data(
    where: str,
    data: str,
    out: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to("train")
    plan = tmp_path / "plan.json"
    plan.write_text(to_json(PLAN))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path / where)
    words = ["run", str(plan), "--data", data.format(data=tmp_path / "train")]
    assert main([*words, *(["--out", out] if out else [])]) == 2
    assert "the output folder lies inside the data" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
