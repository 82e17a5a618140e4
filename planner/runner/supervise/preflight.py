"""What can be refused is refused before a run begins: its data, its device, and the memory there is now.

Another process looks, for this one's memory counts in the budget and that one's is gone when training starts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from planner.errors import RunError
from planner.runner.protocol.events import ChildFailed
from planner.runner.supervise.folder_bytes import SampleCounts
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.plan import Plan
from planner.system.child import ask


@dataclass(frozen=True)
class PreflightQuestion:
    """What is to be looked at."""

    plan: Plan
    """The plan."""
    data: str
    """Name or path of the data set."""
    work_dir: str
    """Where compressed data is unpacked."""
    any_device: bool
    """Whether the plan may be another device's."""
    trains: bool
    """Whether a block is left to train: otherwise neither device nor memory matter."""
    in_memory: bool
    """Whether the memory that there is matters."""
    ignore_limit: bool = False
    """Whether a container's limit may be below the budget."""


@dataclass(frozen=True)
class PreflightAnswer:
    """What was found."""

    refusal: ChildFailed | None
    """Why the run cannot begin."""
    differences: tuple[str, ...] = ()
    """What makes this another device than the plan's, where that is allowed."""
    warnings: tuple[str, ...] = ()
    """What a person should know before it begins."""
    samples: SampleCounts | None = None
    """How many samples the data has; none where it was not looked at."""
    data_bytes: int = 0
    """What the data takes in the output folder."""


def look(question: PreflightQuestion) -> PreflightAnswer:
    """Ask the other process. Raises the PlannerError that it found: InputError, InfeasibleError, RunError."""
    text = to_json(question, indent=None).encode()
    done = ask(["-m", "planner.runner.supervise.preflighter", str(os.getpid())], question=text)
    if not done.text.endswith(b"\n"):
        raise RunError(f"what looks at data and device was {done.end.explained}, unexpectedly: {done.last_words}")
    answer = decode(PreflightAnswer, parse_json(done.text))
    if answer.refusal is not None:
        raise answer.refusal.error()
    return answer
