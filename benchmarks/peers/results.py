"""What the race came to, as one JSON document: the machine, and a line for every run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.peers.contestants import Work
from planner.schema.codec import read_document, to_json
from planner.schema.common import Machine
from planner.schema.request import Scope
from planner.system.files import write_atomically


@dataclass(frozen=True)
class Case:
    """Where contestants meet."""

    work: Work
    """What is trained."""
    threads: int
    """That compute."""
    scope: Scope
    """`process`: the limit is the budget. `training`: the budget, above what a process takes before it trains."""
    budget_bytes: int
    """The budget."""


@dataclass(frozen=True)
class Chosen:
    """How a contestant goes about a case, found before it is timed."""

    case: Case
    """Which."""
    contestant: str
    """By name."""
    micro_batch: int | None
    """Samples in memory at a time, where the harness chose that."""
    limit_bytes: int
    """Of its memory group."""
    refusal: str | None
    """Why it does not train there; null: it does."""
    how: str = ""
    """Our plan in words."""


@dataclass(frozen=True)
class Timed:
    """One run."""

    case: Case
    """Which."""
    contestant: str
    """By name."""
    commit: str
    """Of this project."""
    cpu_images_per_second: float
    """Images by second of processor time, of all processes."""
    images_per_second: float
    """The same by the clock on the wall: it means something on a quiet machine only."""
    peak_bytes: int
    """Highest sum of VmHWM."""
    problem: str | None
    """Why it is not to be counted; null: it went to its end, nothing was killed."""


@dataclass(frozen=True)
class Floor:
    """The least memory that somebody trains in."""

    work: Work
    """What."""
    contestant: str
    """By name."""
    above_bytes: int
    """Above what the process takes before it trains."""


@dataclass
class Results:
    """All of it."""

    machine: Machine
    """Where."""
    chosen: tuple[Chosen, ...] = ()
    """How each goes about each case."""
    timed: tuple[Timed, ...] = ()
    """Every run, in order."""
    floors: tuple[Floor, ...] = ()
    """The least memory of each."""

    def find(self, case: Case, contestant: str) -> Chosen | None:
        """How one goes about a case, where that is known."""
        return next((one for one in self.chosen if (one.case, one.contestant) == (case, contestant)), None)

    def of(self, case: Case, contestant: str) -> list[Timed]:
        """Its runs."""
        return [one for one in self.timed if (one.case, one.contestant) == (case, contestant)]

    def write(self, path: Path) -> None:
        """Keep it."""
        write_atomically(path, to_json(self) + "\n")


def read_results(path: Path) -> Results:
    """What `write` kept."""
    return read_document(path, Results)


@dataclass(frozen=True)
class Speed:
    """Of several runs."""

    median: float
    """Images per second."""
    least: float
    """Of them."""
    most: float
    """Of them."""
    runs: int
    """How many."""


def speed(runs: Iterable[Timed], by_wall: bool = False) -> Speed | None:
    """Median and spread of the runs that count; None where none does."""
    good = [one for one in runs if one.problem is None]
    found = sorted(one.images_per_second if by_wall else one.cpu_images_per_second for one in good)
    return Speed(median(found), found[0], found[-1], len(found)) if found else None
