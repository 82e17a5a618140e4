"""How far finding or preparing a data set has come, told now and then: each may take minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Doing = Literal["finding", "writing", "measuring"]
"""Reading the headers of pictures, of which nobody knows how many there are; writing samples as records; measuring what
to normalise by."""

_EVERY_SECONDS = 0.2


@dataclass(frozen=True)
class Progress:
    """How far it has come."""

    doing: Doing
    """With what."""
    done: int
    """Pictures or samples."""
    total: int | None
    """Of how many; none: not known yet."""


class Pace:
    """Counts, and tells how far it is, five times a second at most."""

    def __init__(self, on_progress: Callable[[Progress], None] | None = None) -> None:
        """Without `on_progress` it only counts."""
        self._on_progress = on_progress
        self._doing: Doing = "finding"
        self._done = 0
        self._total: int | None = None
        self._due = time.monotonic() + _EVERY_SECONDS

    def begin(self, doing: Doing, total: int | None = None) -> None:
        """From here on something else is counted."""
        self._doing, self._done, self._total = doing, 0, total

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._on_progress is not None and (now := time.monotonic()) >= self._due:
            self._due = now + _EVERY_SECONDS
            self._on_progress(Progress(self._doing, self._done, self._total))
