"""The input once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from planner.tasks.base import DataLabels, Label, LabelForm, Task
from planner.tasks.error import MeanError


@dataclass(frozen=True)
class Autoencoder(Task):
    """The mean squared error between output and input, normalised as the network gets it."""

    kind: Literal["autoencoder"]

    metric = MeanError("MSE")
    labels_from = "none"
    input_dtypes = frozenset({"uint8", "float32"})
    fits_exits = False

    def check_outputs(self, outputs: int, shape: tuple[int, ...]) -> None:
        if outputs != shape[0]:
            raise ValueError(f"classes is {outputs}; an autoencoder gives its input again, so {shape[0]}")

    def output_shape(self, outputs: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def label_form(self, outputs: int, shape: tuple[int, ...]) -> LabelForm:
        return LabelForm(shape, "float32", "float32", is_input=True)

    def words(self, outputs: int) -> str:
        return "its input as output"

    def check_data(self, found: DataLabels, outputs: int, shape: tuple[int, ...], called: str) -> None:
        """Any data will do."""

    def label(self, value: Any, outputs: int, shape: tuple[int, ...]) -> Label:
        """Whatever a person has: it is not looked at."""
        return b""
