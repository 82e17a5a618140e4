"""An error of a child process, as its parent is told of it. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.errors import InfeasibleError, PlannerError, error_of


@dataclass(frozen=True)
class ChildFailed:
    """Why a child gives up: an error, as it is passed to the parent."""

    kind: Literal["failed"]
    exit_code: int
    """What the command should exit with."""
    message: str
    """Fit to be shown."""
    minimum_bytes: int | None = None
    """The child's part of the smallest budget that is enough, where the budget is too small."""

    @classmethod
    def of(cls, error: PlannerError) -> ChildFailed:
        """Of an error of this process."""
        minimum = error.minimum_bytes if isinstance(error, InfeasibleError) else None
        return cls("failed", error.exit_code, str(error), minimum)

    def error(self) -> PlannerError:
        """The same error in the parent."""
        return error_of(self.exit_code, self.message, self.minimum_bytes)
