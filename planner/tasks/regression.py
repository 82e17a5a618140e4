"""Numbers for every sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from planner.tasks.base import DataLabels, Label, LabelForm, Task
from planner.tasks.error import MeanError
from planner.tasks.numbers import flat_numbers, packed, ridge_bytes

RegressionLoss = Literal["mse", "l1", "huber"]
"""The mean squared error, the mean absolute error, or Huber's: squared up to a difference of 1, absolute beyond it."""


@dataclass(frozen=True)
class Regression(Task):
    """One number or several, measured by the root of their mean squared error."""

    kind: Literal["regression"]
    loss: RegressionLoss = "mse"
    """What is minimised."""

    metric = MeanError("RMSE")
    labels_from = "numbers"

    def label_form(self, outputs: int, shape: tuple[int, ...]) -> LabelForm:
        return LabelForm((outputs,), "float32", "float32")

    def fit_bytes(self, features: int, outputs: int, micro_batch: int) -> int:
        return ridge_bytes(features, outputs, micro_batch)

    def words(self, outputs: int) -> str:
        return "1 number" if outputs == 1 else f"{outputs} numbers"

    def check_data(self, found: DataLabels, outputs: int, shape: tuple[int, ...], called: str) -> None:
        self.check_kind(found, called, "a number" if outputs == 1 else f"{outputs} numbers")
        if found.classes != outputs:
            raise ValueError(f"has {self.words(found.classes)} for a sample, but {called} gives {outputs}")

    def label(self, value: Any, outputs: int, shape: tuple[int, ...]) -> Label:
        """As many finite numbers as there are outputs; of one output the number alone will do."""
        return packed("f", flat_numbers(value, outputs))
