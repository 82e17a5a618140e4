"""What stands on the line of progress, as a terminal shows it and as a log keeps it."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.cli import line
from planner.cli.line import DataProgress, Line, bar
from planner.data.pace import Progress


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, write: Callable[[], None]) -> str:
    """What a real terminal is sent."""
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "w") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            monkeypatch.setattr(line, "_EVERY_SECONDS", 0.0)
            write()
            monkeypatch.undo()
        return _to_the_end(ours)
    finally:
        os.close(ours)


def _to_the_end(terminal: int) -> str:
    """All that arrives, piece by piece; a terminal whose other side is closed ends with an error."""
    found = b""
    while True:
        try:
            found += os.read(terminal, 2**16)
        except OSError:
            return found.decode()


def test_a_terminal_has_one_line_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        with DataProgress() as shown:
            shown(Progress("finding", 1200, None))
            shown(Progress("writing", 0, 40))
            shown(Progress("writing", 10, 40))

    sent = on_a_terminal(monkeypatch, write)
    lines = sent.split("\r")
    assert lines[1:3] == ["finding pictures: 1,200", "preparing the data [....................] 0/40"]
    assert lines[3].startswith("preparing the data [#####...............] 10/40  ") and lines[3].endswith(" left")
    assert lines[4:] == [" " * len(lines[3]), ""]


def test_what_is_said_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        shown = Line()
        shown.show("a long line of progress")
        shown.show("short")
        shown.say("warning")

    assert on_a_terminal(monkeypatch, write).split("\r") == [
        "",
        "a long line of progress",
        "short".ljust(23),
        " " * 5,
        "warning",
        "\n",
    ]


def test_a_log_has_whole_lines_and_few_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        with DataProgress() as shown:
            for done in range(1000):
                shown(Progress("finding", done, None))
        monkeypatch.undo()
    assert (tmp_path / "log").read_text() == "finding pictures: 0\n"


@pytest.mark.parametrize(("done", "total", "filled"), [(0, 0, 0), (1, 3, 6), (3, 3, 20)])
def test_a_bar(done: int, total: int, filled: int) -> None:
    assert bar(done, total) == f"[{'#' * filled}{'.' * (20 - filled)}]"
