"""One line of progress on standard error, on a terminal rewritten in place, elsewhere written now and then.

Not tqdm, which measuring uses: importing it costs 3 MiB, and a run's supervisor counts in the budget.
"""

from __future__ import annotations

import sys
import time

from planner.cli.output import print_note
from planner.data.pace import Progress
from planner.units import format_seconds

_EVERY_SECONDS = 0.2
_EVERY_SECONDS_IN_A_FILE = 10.0
_BAR = 20


class Line:
    """The line."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._every = _EVERY_SECONDS if self._live else _EVERY_SECONDS_IN_A_FILE
        self._shown = time.perf_counter() - _EVERY_SECONDS_IN_A_FILE
        self._width = 0

    @property
    def is_due(self) -> bool:
        """Whether what changes all the time may be shown again."""
        return time.perf_counter() - self._shown >= self._every

    def show(self, text: str) -> None:
        """Show this from now on."""
        self._shown = time.perf_counter()
        if not self._live:
            print_note(text)
            return
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

    def say(self, text: str) -> None:
        """Say something that stays."""
        self.clear()
        print_note(text)

    def clear(self) -> None:
        """Take the line away, for others to write there."""
        if self._live and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0


def bar(done: int, total: int) -> str:
    """`[####................]`"""
    filled = _BAR * done // max(1, total)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}]"


class DataProgress:
    """Shows how far finding and preparing a data set is."""

    def __init__(self, line: Line | None = None) -> None:
        self._line = line or Line()
        self._doing = ""
        self._started = 0.0
        self._before = 0

    def __call__(self, found: Progress) -> None:
        """So many pictures are found, or samples written."""
        doing, done, total = found.doing, found.done, found.total
        if doing != self._doing:
            self._doing, self._started, self._before = doing, time.perf_counter(), done
        if not self._line.is_due:
            return
        if total is None:
            self._line.show(f"finding pictures: {done:,}")
            return
        new = done - self._before
        left = (time.perf_counter() - self._started) / new * (total - done) if new else None
        rest = "" if left is None else f"  {format_seconds(left)} left"
        what = "measuring" if doing == "measuring" else "preparing"
        self._line.show(f"{what} the data {bar(done, total)} {done:,}/{total:,}{rest}")

    def __enter__(self) -> DataProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()
