"""Other shapes for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from planner.operators.base import Graph, Operator, Shape


@dataclass(frozen=True)
class Flatten(Operator):
    """Channels, rows and columns into one row of features."""

    op: Literal["flatten"]

    in_torch = (("flatten", "Flatten", "flatten Tensor.flatten", "start_dim=0 end_dim"),)

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        return (prod(shape),)

    @classmethod
    def from_torch(cls, op: str, module: Any) -> Flatten:
        start, end = module.start_dim, module.end_dim
        if start != 1 or end != -1:
            raise ValueError(f"flattens dimensions {start} to {end}; only 1 to -1 can be expressed")
        return cls("flatten")

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        return graph.node("Flatten", inputs, axis=1)


Family = Flatten
