"""One line of progress for a run."""

from __future__ import annotations

import time
from typing import assert_never

from planner.cli.line import DataProgress, Line, bar
from planner.data.pace import Progress
from planner.runner.protocol.events import (
    BlockDone,
    BlockStarted,
    Checkpointed,
    ChildReady,
    Deviation,
    Event,
    Finished,
    Initialised,
    Preparing,
    Step,
    Warned,
)
from planner.schema.child_failed import ChildFailed
from planner.schema.plan import Plan
from planner.system.proc import read_memory
from planner.units import MIB, format_bytes, format_seconds


def _some(names: tuple[str, ...]) -> str:
    """The first names of a list, in brackets."""
    if not names:
        return ""
    return f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


class RunProgress:
    """Shows where a run is, how fast it goes, and its memory against the budget."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._line = Line()
        self._data = DataProgress(self._line)
        self._total = 1
        self._phase = ""
        self._started = time.perf_counter()
        self._samples = 0
        self._before = 0
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
                self._line.say(
                    f"--init: {init.taken} tensors taken, {len(init.left) + init.left_more} begin at random"
                    f"{_some(init.left)}, {len(init.unused) + init.unused_more} not used{_some(init.unused)}"
                    + (f"; {init.converted} were made float32" if init.converted else "")
                )
            case BlockStarted():
                self._begin(event)
            case Step():
                self._step(event)
            case Deviation():
                self._line.say(f"deviation: {event.text}")
            case BlockDone():
                peak = format_bytes(event.peak_bytes + self._extra)
                metric = self._plan.model.task.metric
                good = "".join(
                    f", {metric.name} {metric.share(last.accuracy, last.samples)}" for last in event.exits[-1:]
                )
                self._line.say(f"{self._name(event.block)}: done, peak {peak}{good}")
            case Preparing():
                self._data(Progress(event.doing, event.done, event.total))
            case Warned():
                self._line.clear()  # it is told by others
            case Checkpointed() | ChildFailed() | Finished():
                pass  # told at the end, or not at all
            case _:
                assert_never(event)

    def _name(self, block: int) -> str:
        first, last = self._plan.stages[block].units
        count = len(self._plan.blocks)
        which = f"block {block + 1}/{count}" if block < count else "polish"
        return f"{which} (units {first}-{last - 1})"

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
        self._line.show(f"{self._name(event.block)}: {names.get(event.phase, 'preparing')}")

    def _step(self, event: Step) -> None:
        self._samples += event.samples
        self._peak = max(self._peak, event.peak_bytes + self._extra)
        done = event.step + 1
        if not self._line.is_due and done < self._total:
            return
        seconds = time.perf_counter() - self._started
        left = seconds / (done - self._before) * (self._total - done)
        self._line.show(
            f"{self._name(event.block)} {bar(done, self._total)} {done}/{self._total}"
            f"  loss {event.loss:.3f}  {self._samples / max(seconds, 1e-9):.0f} samples/s"
            f"  memory {(event.resident_bytes + self._extra) / MIB:.0f}, peak {self._peak / MIB:.0f}"
            f" of {self._plan.budget.bytes / MIB:.0f} MiB  {format_seconds(left)} left"
        )

    def close(self) -> None:
        """Make room for what others say."""
        self._line.clear()


class Silent:
    """Shows nothing."""

    def observe(self, event: Event) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
