"""Fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from planner import limits
from planner.operators.base import Graph, Operator, Shape, Weight, between, show


@dataclass(frozen=True)
class Linear(Operator):
    """A fully connected layer over a flat input."""

    op: Literal["linear"]
    out_features: int
    """Outputs."""
    bias: bool = True
    """Whether each output has a bias."""

    in_torch = (("linear", "Linear"),)
    overwritable = True

    def __post_init__(self) -> None:
        between("out_features", self.out_features, 1, limits.MAX_CHANNELS)

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        if len(shape) != 1:
            raise ValueError(f"needs a flat input, has {show(shape)}; put a flatten before it")
        return (self.out_features,)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        bound = 1 / math.sqrt(shape[0])
        weight = Weight("weight", (self.out_features, shape[0]), ("uniform", bound), decays=True)
        return (weight, Weight("bias", (self.out_features,), ("constant", 0.0)))[: 1 + self.bias]

    def arguments(self, shape: Shape) -> Mapping[str, Any]:
        return {"in_features": shape[0], **super().arguments(shape)}

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        return graph.node("Gemm", inputs, transB=1)


Family = Linear
