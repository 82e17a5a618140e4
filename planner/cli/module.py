"""Networks that a person's own code makes, by the name of the function that does: `package.module:function`.

That code, and torch, are run by a process of their own (`planner.cli.module_child`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from planner.errors import RunError
from planner.model.importers.description import Description
from planner.model.importers.obstacles import refusal
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import to_json
from planner.schema.inputs import InputDtype
from planner.schema.model import Model
from planner.system.child import ask
from planner.tasks.kinds import CLASSIFICATION, AnyTask

_NAME = re.compile(r"(?:.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class ModuleQuestion:
    """What is asked of the process."""

    name: str
    """The function."""
    input: tuple[int, ...]
    """Shape of one sample."""
    classes: int | None
    """How many classes the network has to tell apart; none: as many as it does."""
    state_dict: str | None = None
    """A file for the weights that the module begins with."""
    input_dtype: InputDtype | None = None
    """What data sets hold; none: images of three extents, or numbers."""
    task: AnyTask = CLASSIFICATION
    """What it is for."""


@dataclass(frozen=True)
class ModuleReply:
    """What it says: one of the two."""

    description: Description | None = None
    """Of the network."""
    failed: ChildFailed | None = None
    """Why the file cannot be written."""


def is_function(name: str) -> bool:
    """Whether a network's name is that of a function: `package.module:function`, `folder/file.py:function`."""
    return _NAME.fullmatch(name) is not None and not name.endswith((".json", ".onnx"))


def describe_made(
    name: str,
    shape: tuple[int, ...],
    classes: int | None,
    state_dict: Path | None = None,
    dtype: InputDtype | None = None,
    task: AnyTask = CLASSIFICATION,
) -> Description:
    """The network that a function makes for a task, or all that is in its way; its weights go to `state_dict`.

    Raises OverBudgetError or RunError where the process ended, StorageError where the weights cannot be written.
    """
    target = None if state_dict is None else str(state_dict.absolute())
    question = ModuleQuestion(name, shape, classes, target, dtype, task)
    done = ask(["-m", "planner.cli.module_child", str(os.getpid())], question=to_json(question, indent=None).encode())
    reply = done.decoded(ModuleReply, f"the process that runs {name}", "free some")
    if reply.failed is not None:
        raise reply.failed.error()
    if reply.description is None:
        raise RunError(f"the process that runs {name} said nothing of it")
    return reply.description


def model_made(
    name: str,
    shape: tuple[int, ...],
    classes: int | None,
    dtype: InputDtype | None = None,
    task: AnyTask = CLASSIFICATION,
) -> Model:
    """The network that a function makes for a task. Raises ModelError with all that is in its way."""
    found = describe_made(name, shape, classes, dtype=dtype, task=task)
    if found.model is None:
        raise refusal(found.obstacles)
    return found.model
