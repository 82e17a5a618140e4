"""Other shapes for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from planner.operators.base import Graph, Operator, Shape


@dataclass(frozen=True)
class Flatten(Operator):
    """Channels, rows and columns into one row of features."""

    op: Literal["flatten"]

    in_torch = (("flatten", "Flatten"),)

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        return (prod(shape),)

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        return graph.node("Flatten", inputs, axis=1)


Family = Flatten
