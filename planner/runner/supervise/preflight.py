"""The checks before a run: that the device is the plan's, that there is memory enough, and that weights to begin with
are used to what they will be given.

A process of its own makes them: the supervisor's memory counts in the budget, that one's is free again before training.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from planner.schema.child_failed import ChildFailed
from planner.schema.codec import to_json
from planner.schema.plan import Plan
from planner.system.child import ask


@dataclass(frozen=True)
class PreflightQuestion:
    """What the checking process is given."""

    plan: Plan
    """The plan that is to be run."""
    any_device: bool
    """Whether the plan may be another device's."""
    trains: bool
    """Whether a block is left to train: otherwise neither device nor memory matter."""
    in_memory: bool
    """Whether available memory is checked too."""
    ignore_limit: bool = False
    """Whether a container's limit may be below the budget."""
    init: str | None = None
    """The weights that a new run begins with, as `--init` names them; none without."""


@dataclass(frozen=True)
class PreflightAnswer:
    """What the checks found."""

    refusal: ChildFailed | None
    """Why the run cannot begin; none where it can."""
    differences: tuple[str, ...] = ()
    """How this device differs from the plan's, where `any_device` allows that."""
    warnings: tuple[str, ...] = ()
    """What a person should know before it begins."""


def look(question: PreflightQuestion) -> PreflightAnswer:
    """Run the checks. Raises what they found: InputError, InfeasibleError or RunError."""
    text = to_json(question, indent=None).encode()
    done = ask(["-m", "planner.runner.supervise.preflighter", str(os.getpid())], question=text)
    answer = done.decoded(PreflightAnswer, "what looks at device and memory", "free some on the device")
    if answer.refusal is not None:
        raise answer.refusal.error()
    return answer
