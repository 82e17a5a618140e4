"""The closed list of tasks, and the one that is meant where a document names none."""

from __future__ import annotations

from planner.tasks.classification import Classification
from planner.tasks.multilabel import Multilabel
from planner.tasks.regression import Regression

AnyTask = Classification | Multilabel | Regression
"""A task: the union of their classes."""

CLASSIFICATION = Classification("classification")
"""What networks were trained for before documents told of a task."""
