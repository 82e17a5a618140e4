"""Any of several classes for every sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from planner.tasks.accuracy import Share
from planner.tasks.base import DataLabels, Label, LabelForm, Task
from planner.tasks.numbers import flat_numbers, ridge_bytes
from planner.tasks.smoothing import check_smoothing


@dataclass(frozen=True)
class Multilabel(Task):
    """Binary cross-entropy of every class by itself. A class counts as found where its output is above 0; measured by
    F1 over all samples and classes together (micro)."""

    kind: Literal["multilabel"]
    # As `planner.schema.codec.added`, which lies above: a task without it keeps the ids that it had.
    label_smoothing: float = field(default=0.0, metadata={"added": True})
    """Part of every flag's target that is spread evenly over yes and no, from 0 to below 1: half of it to each."""

    metric = Share("F1")
    labels_from = "flags"

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)

    def label_form(self, outputs: int, shape: tuple[int, ...]) -> LabelForm:
        return LabelForm((outputs,), "float32", "uint8")

    def fit_bytes(self, features: int, outputs: int, micro_batch: int) -> int:
        return ridge_bytes(features, outputs, micro_batch)

    def words(self, outputs: int) -> str:
        return "1 label" if outputs == 1 else f"{outputs} labels"

    def check_data(self, found: DataLabels, outputs: int, shape: tuple[int, ...], called: str) -> None:
        self.check_kind(found, called, f"{outputs} flags of 0 or 1")
        if found.classes != outputs:
            raise ValueError(f"has {found.classes} flags for a sample, but {called} tells {outputs} labels")

    def label(self, value: Any, outputs: int, shape: tuple[int, ...]) -> Label:
        """A flag of 0 or 1 for every class."""
        found = flat_numbers(value, outputs)
        if not set(found) <= {0.0, 1.0}:
            odd = next(number for number in found if number not in (0.0, 1.0))
            raise ValueError(f"its label holds {odd:g}; flags of 0 or 1 are needed, one for every class")
        return bytes(int(number) for number in found)
