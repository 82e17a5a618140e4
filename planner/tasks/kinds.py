"""The closed list of tasks, and the one that is meant where a document names none."""

from __future__ import annotations

from planner.tasks.classification import Classification

AnyTask = Classification
"""A task: the union of their classes."""

CLASSIFICATION = Classification("classification")
"""What networks were trained for before documents told of a task."""
