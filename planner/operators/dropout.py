"""What is left out at random while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from planner.operators.base import Graph, Operator, Shape, between


@dataclass(frozen=True)
class Dropout(Operator):
    """Zero elements at random while training."""

    op: Literal["dropout"]
    p: float = 0.5
    """Probability of zeroing an element."""

    in_torch = (("dropout", "Dropout"),)

    def __post_init__(self) -> None:
        between("p", self.p, 0.0, 0.99)

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        """Nothing, as in evaluation."""
        return inputs[0]


Family = Dropout
