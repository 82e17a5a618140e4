"""One of several classes for every sample."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal

from planner.tasks.accuracy import Accuracy
from planner.tasks.base import Label, Task


@dataclass(frozen=True)
class Classification(Task):
    """Cross-entropy over classes, measured by the share of samples whose class is the most likely output."""

    kind: Literal["classification"]

    metric = Accuracy()
    least_outputs = 2

    def label_bytes(self, outputs: int) -> int:
        return 8

    def fit_bytes(self, features: int, outputs: int, micro_batch: int) -> int:
        """Sums, what solving needs beside them, features as they come and shifted
        (`planner.training.discriminant`)."""
        return 4 * features * (2 * features + 8 * outputs + 2 * micro_batch)

    def words(self, outputs: int) -> str:
        return f"{outputs} classes"

    def check_data(self, classes: int, outputs: int, called: str) -> None:
        if classes > outputs:
            raise ValueError(f"has {classes} classes, but {called} tells {outputs} apart")

    def label(self, value: Any, outputs: int) -> Label:
        """0 … classes - 1."""
        try:
            found = operator.index(value)
        except TypeError:
            raise ValueError(f"its label is a {type(value).__name__}; a whole number is needed") from None
        if not 0 <= found < outputs:
            raise ValueError(f"its label is {found}; the plan's model tells 0 to {outputs - 1} apart")
        return found

    def store(self, label: Label) -> bytes:
        return label.to_bytes(self.stored_label_bytes, "little")

    def stored(self, data: bytes | memoryview) -> Label:
        return int.from_bytes(data, "little")
