"""What comes next, at every place of a sequence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from planner.tasks.base import DataLabels, Label, LabelForm, Task
from planner.tasks.error import MeanError
from planner.tasks.smoothing import check_smoothing


@dataclass(frozen=True)
class NextToken(Task):
    """Cross-entropy of every token but the first, by the outputs at the place before it; measured by perplexity."""

    kind: Literal["next-token"]
    # As `planner.schema.codec.added`, which lies above: a task without it keeps the ids that it had.
    label_smoothing: float = field(default=0.0, metadata={"added": True})
    """Part of every token's target that is spread evenly over the vocabulary, from 0 to below 1."""

    metric = MeanError("perplexity")
    least_outputs = 2
    labels_from = "none"
    input_dtypes = frozenset({"int64"})
    fits_exits = False

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)

    def check_outputs(self, outputs: int, shape: tuple[int, ...]) -> None:
        if len(shape) != 1 or shape[0] < 2:
            raise ValueError("input has to be one number above 1 for next-token: how many tokens a sample has")

    def output_shape(self, outputs: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, outputs)

    def label_form(self, outputs: int, shape: tuple[int, ...]) -> LabelForm:
        return LabelForm(shape, "int64", "int32", is_input=True)

    def words(self, outputs: int) -> str:
        return f"{outputs} tokens at every place"

    def check_data(self, found: DataLabels, outputs: int, shape: tuple[int, ...], called: str) -> None:
        """Tokens are looked at as inputs."""

    def label(self, value: Any, outputs: int, shape: tuple[int, ...]) -> Label:
        """Whatever a person has: it is not looked at."""
        return b""
