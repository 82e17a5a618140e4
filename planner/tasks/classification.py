"""One of several classes for every sample."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal

from planner.tasks.accuracy import Accuracy
from planner.tasks.base import CLASS_NUMBER, DataLabels, Label, LabelForm, Task, class_label
from planner.tasks.smoothing import check_smoothing


@dataclass(frozen=True)
class Classification(Task):
    """Cross-entropy over classes, measured by the share of samples whose class is the most likely output."""

    kind: Literal["classification"]
    label_smoothing: float = 0.0
    """Part of the target that is spread evenly over all classes, from 0 to below 1."""
    class_weights: tuple[float, ...] = ()
    """How much a sample of each class counts in the loss; empty: all alike."""

    metric = Accuracy()
    least_outputs = 2

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)
        if self.class_weights and (min(self.class_weights) < 0.0 or sum(self.class_weights) <= 0.0):
            raise ValueError("class_weights: none may be below 0, and one has to be above it")

    def check_outputs(self, outputs: int, shape: tuple[int, ...]) -> None:
        if self.class_weights and len(self.class_weights) != outputs:
            raise ValueError(f"class_weights: there are {len(self.class_weights)} of them for {outputs} classes")

    def label_form(self, outputs: int, shape: tuple[int, ...]) -> LabelForm:
        return CLASS_NUMBER

    def fit_bytes(self, features: int, outputs: int, micro_batch: int) -> int:
        """Sums, what solving needs beside them, features as they come and shifted
        (`planner.training.discriminant`)."""
        return 4 * features * (2 * features + 8 * outputs + 2 * micro_batch)

    def words(self, outputs: int) -> str:
        return f"{outputs} classes"

    def check_data(self, found: DataLabels, outputs: int, shape: tuple[int, ...], called: str) -> None:
        self.check_kind(found, called, "the number of its class")
        if found.classes > outputs:
            raise ValueError(f"has {found.classes} classes, but {called} tells {outputs} apart")

    def label(self, value: Any, outputs: int, shape: tuple[int, ...]) -> Label:
        """0 … classes - 1."""
        try:
            found = operator.index(value)
        except TypeError:
            raise ValueError(f"its label is a {type(value).__name__}; a whole number is needed") from None
        if not 0 <= found < outputs:
            raise ValueError(f"its label is {found}; the plan's model tells 0 to {outputs - 1} apart")
        return class_label(found)
