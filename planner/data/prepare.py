"""Having a data set prepared: read once, in a process of its own with a limit of its own, and written as records.

That process may load Pillow and decode; the training child reads the records alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from planner.data.pace import Progress
from planner.errors import RunError
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.data import DataDescription
from planner.schema.inputs import InputDtype
from planner.schema.preprocessing import Resize
from planner.system.child import ask
from planner.tasks.kinds import AnyTask
from planner.units import MIB, format_bytes

LEAST_BYTES = 32 * MIB
"""Preparing takes so much, whatever is left of a budget: where that is less, torch cannot start either, and its process
says what would be enough."""


@dataclass(frozen=True)
class Wanted:
    """What is to be prepared."""

    data: str
    """Name or path of the data set."""
    work_dir: str
    """Whose `data/records.bin` is written; compressed data is unpacked there for as long as it takes."""
    input: tuple[int, ...]
    """Extents of a sample that the model takes: channels, height and width of an image."""
    classes: int
    """Classes that the model tells apart."""
    called: str
    """What errors call the model."""
    task: AnyTask
    """What the model is for."""
    seed: int
    """What held-out samples are drawn by."""
    class_names: tuple[str, ...] = ()
    """What the model calls its classes; empty: their numbers."""
    allowed_bytes: int | None = None
    """Resident bytes that the process may reach; none: not limited."""
    test_only: bool = False
    """Whether only the test part is wanted; then it may lack classes."""
    in_memory: bool = False
    """Whether the folder is memory: then the file counts as this process's own bytes do."""
    known: DataDescription | None = None
    """What the data has to be, where a run has begun with it."""
    resize: Resize | None = None
    """How images of an array that are of another size are brought to the model's; none: they are refused."""
    shorter_side: int | None = None
    """The shorter side that images are resized to before the middle is cut out; none: both sides are the model's."""
    input_dtype: InputDtype = "uint8"
    """What the model takes."""
    tokens: int = 0
    """How many tokens it tells apart; 0: it takes none."""
    validation: str | None = None
    """Name or path of the validation part, where that lies apart."""


@dataclass(frozen=True)
class Prepared:
    """What was prepared."""

    description: DataDescription
    """What the records hold."""
    storage_bytes: int
    """Length of their file."""
    peak_bytes: int
    """Highest resident bytes of the process that prepared them, with the file where that is memory."""
    reused: bool = False
    """Whether the file was there, whole, from an earlier session."""


@dataclass(frozen=True)
class PreparationReply:
    """What the preparing process says: one of the three."""

    failed: ChildFailed | None
    """Why not."""
    prepared: Prepared | None
    """What there is now."""
    progress: Progress | None = None
    """How far it has come: then the answer is still to come."""


def prepare_in_child(wanted: Wanted, on_progress: Callable[[Progress], None] | None = None) -> Prepared:
    """Have the records written, or found whole; `on_progress` is called with how far that has come.

    Raises InputError, RunError, OverBudgetError where it was killed.
    """

    def on_line(line: bytes) -> bool:
        progress = decode(PreparationReply, parse_json(line)).progress
        if progress is not None and on_progress is not None:
            on_progress(progress)
        return progress is not None

    question = to_json(wanted, indent=None).encode()
    done = ask(["-m", "planner.data.preparer", str(os.getpid())], question=question, on_line=on_line)
    limit = "" if wanted.allowed_bytes is None else f" (it was given {format_bytes(wanted.allowed_bytes)})"
    remedy = f"free some, or plan for a larger budget{limit}"
    answer = done.decoded(PreparationReply, "the process that prepares the data", remedy)
    if answer.failed is not None:
        raise answer.failed.error()
    if answer.prepared is None:
        raise RunError("the process that prepares the data said nothing of it")
    return answer.prepared
