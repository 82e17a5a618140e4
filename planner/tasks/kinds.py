"""The closed list of tasks, and the one that is meant where a document names none."""

from __future__ import annotations

from collections.abc import Mapping

from planner.tasks.autoencoder import Autoencoder
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
