"""One line of progress for a run, on a terminal rewritten in place.

Not tqdm, which the other commands use: importing it costs 3 MiB, and this process counts in the budget.
"""

from __future__ import annotations

import sys
import time
from typing import assert_never

from planner.cli.output import print_note
from planner.runner.protocol.events import (
    BlockDone,
    BlockStarted,
    Checkpointed,
    ChildFailed,
    ChildReady,
    Deviation,
    Event,
    Finished,
    Initialised,
    Step,
    Warned,
)
from planner.schema.plan import Plan
from planner.system.proc import read_memory
from planner.units import MIB, format_bytes, format_seconds

_EVERY_SECONDS = 0.2
_EVERY_SECONDS_IN_A_FILE = 10.0
_BAR = 20


def _some(names: tuple[str, ...]) -> str:
    """The first names of a list, in brackets."""
    if not names:
        return ""
    return f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


class RunProgress:
    """Shows where a run is, how fast it goes, and its memory against the budget."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._live = sys.stderr.isatty()
        self._total = 1
        self._phase = ""
        self._shown = 0.0
        self._started = time.perf_counter()
        self._samples = 0
        self._before = 0
        self._width = 0
        self._extra = 0
        self._peak = 0

    def observe(self, event: Event) -> None:
        """Take note of an event and show it when it is time."""
        match event:
            case ChildReady():
                is_process = self._plan.budget.scope == "process"
                self._extra = read_memory().resident_bytes if is_process else -event.baseline_bytes
            case Initialised():
                init = event.init
                self._say(
                    f"--init: {init.taken} tensors taken, {len(init.left) + init.left_more} begin at random"
                    f"{_some(init.left)}, {len(init.unused) + init.unused_more} not used{_some(init.unused)}"
                    + (f"; {init.converted} were made float32" if init.converted else "")
                )
            case BlockStarted():
                self._begin(event)
            case Step():
                self._step(event)
            case Deviation():
                self._say(f"deviation: {event.text}")
            case BlockDone():
                exits = event.exits[-1]
                peak = format_bytes(event.peak_bytes + self._extra)
                metric = self._plan.model.task.metric
                good = f"{metric.name} {metric.share(exits.accuracy, exits.samples)}"
                self._say(f"{self._name(event.block)}: done, peak {peak}, {good}")
            case Checkpointed() | Warned() | ChildFailed() | Finished():
                pass  # told at the end, or not at all
            case _:
                assert_never(event)

    def _name(self, block: int) -> str:
        first, last = self._plan.blocks[block].units
        return f"block {block + 1}/{len(self._plan.blocks)} (units {first}-{last - 1})"

    def _begin(self, event: BlockStarted) -> None:
        self._phase = event.phase
        self._total = event.total_steps
        self._started = time.perf_counter()
        self._samples = 0
        self._before = event.done_steps
        if event.phase == "train":
            return
        names = {
            "save": "saving",
            "validate": "measuring its heads on test data",
            "cache": "writing an activation cache",
        }
        self._show(f"{self._name(event.block)}: {names.get(event.phase, 'preparing')}")

    def _step(self, event: Step) -> None:
        self._samples += event.samples
        self._peak = max(self._peak, event.peak_bytes + self._extra)
        now = time.perf_counter()
        wait = _EVERY_SECONDS if self._live else _EVERY_SECONDS_IN_A_FILE
        if now - self._shown < wait and event.step + 1 < self._total:
            return
        done = event.step + 1
        seconds = now - self._started
        left = seconds / (done - self._before) * (self._total - done)
        filled = _BAR * done // max(1, self._total)
        self._show(
            f"{self._name(event.block)} [{'#' * filled}{'.' * (_BAR - filled)}] {done}/{self._total}"
            f"  loss {event.loss:.3f}  {self._samples / max(seconds, 1e-9):.0f} samples/s"
            f"  memory {(event.resident_bytes + self._extra) / MIB:.0f}, peak {self._peak / MIB:.0f}"
            f" of {self._plan.budget.bytes / MIB:.0f} MiB  {format_seconds(left)} left"
        )

    def _show(self, text: str) -> None:
        self._shown = time.perf_counter()
        if not self._live:
            print_note(text)
            return
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

    def _say(self, text: str) -> None:
        if self._live:
            sys.stderr.write("\r" + " " * self._width + "\r")
            self._width = 0
        print_note(text)


class Silent:
    """Shows nothing."""

    def observe(self, event: Event) -> None:
        """Do nothing."""
