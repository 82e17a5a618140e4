"""The page of a run: whole in itself, nothing in it that runs or is fetched, and nothing that a name could add."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from planner.cli.main import main
from planner.report.page import make_page
from planner.report.plot import draw_memory
from planner.report.read import RunRecord, read_run
from tests.unit.report.documents import PLAN, REPORT, make_model, write_run

NASTY = "<script>alert('x')</script>\"&\x1b[2J"


class Seen(HTMLParser):
    """Elements, attributes, and the text of every cell, as a browser would take them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def _page(record: RunRecord, folder: Path) -> str:
    draw_memory(record, folder / "memory.svg")
    return make_page(record, (folder / "memory.svg").read_text(encoding="utf-8"))


def test_it_shows_blocks_exits_deviations_and_settings(tmp_path: Path) -> None:
    deviating = replace(REPORT, deviations=("block 0: micro-batch 8 instead of 16",))
    seen = Seen(_page(read_run(write_run(tmp_path, report=deviating)), tmp_path))
    assert seen.rows[0] == [
        "block", "units", "micro-batch × accumulate", "epochs", "loss", "peak MiB predicted", "peak MiB measured",
        "peak MiB diff", "per epoch predicted", "per epoch measured", "per epoch diff",
    ]  # fmt: skip
    # 255 000 000 and 260 100 000 bytes, 2 % apart; 3.25 and 6.5 s.
    assert seen.rows[1] == ["0", "0–2", "16 × 2", "3", "1.235", "243.2", "248.1", "+2.0%", "3.2 s", "6.5 s", "+100.0%"]
    assert ["", "alpha", "1", "pooled", "1,234", "0.0%", "25.0%", "–", "812.2", "8.16"] in seen.rows
    assert ["*", "omega", "5", "own", "5,678,901", "100.0%", "81.2%", "–", "99.5", "1.00"] in seen.rows
    assert ["budget", "267.0 MiB, scope process, 4.0 MiB of it in reserve"] in seen.rows
    assert "block 0: micro-batch 8 instead of 16" in seen.text
    assert "stayed under 267.0 MiB: yes" in seen.text
    assert "svg" in seen.tags
    assert "budget 267.0 MiB" in seen.text  # a label within the picture
    assert "The run followed its plan." in Seen(_page(read_run(write_run(tmp_path)), tmp_path)).text


def test_without_a_picture_everything_else_is_there_and_what_is_lacking_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    whole, said = Seen((folder / "report.html").read_text()), capsys.readouterr()
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["report", str(folder)]) == 0
    without = capsys.readouterr()
    assert without.out == said.out
    lacking = "drawing needs matplotlib, which is not installed: pip install 'neuroflux-planner[report]'"
    assert f"memory.svg was not drawn: {lacking}" in without.err
    assert not (folder / "memory.svg").exists(), "an earlier picture stands beside a newer page"
    seen = Seen((folder / "report.html").read_text())
    assert f"No picture: {lacking}." in seen.text
    assert "svg" not in seen.tags
    assert seen.rows == whole.rows


def test_a_run_without_a_recorded_step_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "memory.jsonl").write_text("")
    assert main(["report", str(folder)]) == 0
    said = capsys.readouterr()
    assert "stayed under 267.0 MiB: yes" in said.out
    assert "memory.svg was not drawn: memory.jsonl: no step is recorded" in said.err


def test_nothing_in_it_runs_or_is_fetched(tmp_path: Path) -> None:
    page = _page(read_run(write_run(tmp_path)), tmp_path)
    seen = Seen(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    references = [value for name, value in seen.attributes if name in ("src", "href", "xlink:href", "data", "action")]
    assert all(value.startswith("#") for value in references)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in seen.attributes
    assert not re.search(r"url\((?!#)|@import", page)
    # Only names of formats are left, which nobody fetches.
    assert {name for name, value in seen.attributes if "://" in value} <= {"xmlns", "xmlns:xlink"}


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    names = tuple(f"{NASTY}{index}" for index in range(5))
    plan = replace(PLAN, model=replace(make_model(names), name=NASTY), device=replace(PLAN.device, name=NASTY))
    report = replace(REPORT, deviations=(NASTY,))
    page = _page(read_run(write_run(tmp_path, plan=plan, report=report)), tmp_path)
    seen = Seen(page)
    assert "script" not in seen.tags
    assert "\x1b" not in page
    assert seen.text.count("<script>alert('x')</script>\"&\ufffd[2J") >= 4


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert str(folder / "report.html") in capsys.readouterr().err
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page == make_page(read_run(folder), (folder / "memory.svg").read_text(encoding="utf-8"))
