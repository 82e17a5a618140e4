"""Why a network does not come in: all reasons at once, each with its place and what to do. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.errors import ModelError, RefusedModelError
from planner.limits import MAX_TEXT_LENGTH


@dataclass(frozen=True)
class Obstacle:
    """One reason."""

    problem: str
    """What it is."""
    place: str = ""
    """The line of the network's own code (`file:line`), or the layer or tensor; empty: the network as a whole."""
    remedy: str = ""
    """What to do; empty where the problem says it, or nothing is known."""
    unit: int | None = None
    """Index of the unit that is to blame, where it has got so far."""

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else "" if self.unit is None else f"unit {self.unit}: "
        return place + self.problem + (f"; {self.remedy}" if self.remedy else "")


def obstacles_of(error: ModelError) -> tuple[Obstacle, ...]:
    """Those that an error carries, or the one that it is."""
    if isinstance(error, RefusedModelError):
        found: tuple[Obstacle, ...] = error.obstacles
        return found
    text = str(error)
    if error.unit is not None:
        text = text.removeprefix(f"unit {error.unit}: ")
    return (Obstacle(text[:MAX_TEXT_LENGTH], unit=error.unit),)


def refusal(obstacles: Sequence[Obstacle]) -> ModelError:
    """The error that says so: a sentence for one obstacle, a list for several."""
    if len(obstacles) == 1:
        return RefusedModelError(str(obstacles[0]), tuple(obstacles), obstacles[0].unit)
    lines = "".join(f"\n  - {obstacle}" for obstacle in obstacles)
    return RefusedModelError(f"{len(obstacles)} things are in the way of this network:{lines}", tuple(obstacles))
