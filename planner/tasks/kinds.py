"""The closed list of tasks, and the one that is meant where a document names none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from planner.tasks.autoencoder import Autoencoder
from planner.tasks.base import IGNORED
from planner.tasks.classification import Classification
from planner.tasks.multilabel import Multilabel
from planner.tasks.next_token import NextToken
from planner.tasks.regression import Regression
from planner.tasks.segmentation import Segmentation

AnyTask = Classification | Multilabel | Regression | Segmentation | Autoencoder | NextToken
"""A task: the union of their classes."""

CLASSIFICATION = Classification("classification")
"""What networks were trained for before documents told of a task."""

USUAL: Mapping[str, AnyTask] = {
    "classification": CLASSIFICATION,
    "multilabel": Multilabel("multilabel"),
    "regression": Regression("regression"),
    "segmentation": Segmentation("segmentation"),
    "autoencoder": Autoencoder("autoencoder"),
    "next-token": NextToken("next-token"),
}
"""Every task by its kind, as it is where nothing more is said."""


def ignored_by(task: AnyTask | None) -> int | None:
    """What masks say of pixels of no class; where no task says it, as is usual."""
    return task.ignore_index if isinstance(task, Segmentation) else IGNORED


def make_task(kind: str | None, settings: Mapping[str, Any], usual: AnyTask = CLASSIFICATION) -> AnyTask:
    """The task of that kind with these fields; none: `usual` with them.

    Raises ValueError: there is no such task, it has no such field, or a value is out of range.
    """
    if kind is not None and kind not in USUAL:
        raise ValueError(f"{kind[:40]!r} is no task; it is one of {', '.join(USUAL)}")
    task = usual if kind is None or kind == usual.kind else USUAL[kind]
    known = {field.name for field in fields(task)} - {"kind"}
    for name in settings:
        if name not in known:
            has = f"; it has {', '.join(sorted(known))}" if known else ""
            raise ValueError(f"{task.kind} has no {name}{has}")
    return replace(task, **settings)


def usual_task(outputs: int) -> AnyTask:
    """What a network of so many outputs is for where nobody says it: one output tells no classes apart."""
    return CLASSIFICATION if outputs >= CLASSIFICATION.least_outputs else USUAL["regression"]
