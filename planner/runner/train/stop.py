"""A wish to stop, noticed between two steps: SIGTERM to the training child."""

from __future__ import annotations

import signal

from planner.errors import InterruptedRunError


class StopSignal:
    """Whether the process was asked to stop."""

    def __init__(self) -> None:
        self.is_set = False

    def listen(self) -> None:
        """Take SIGTERM as the wish, from here on; what runs is not interrupted by it."""
        signal.signal(signal.SIGTERM, lambda number, frame: self.set())

    def set(self) -> None:
        """Ask to stop."""
        self.is_set = True

    def check(self) -> None:
        """Raise InterruptedRunError if asked to stop; whoever calls has everything on storage."""
        if self.is_set:
            raise InterruptedRunError("stopped; everything so far is saved, --resume goes on from there")
