"""Elementwise non-linearities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from planner.operators.base import Graph, Operator, Shape


@dataclass(frozen=True)
class Activation(Operator):
    """An elementwise non-linearity."""

    op: Literal["relu", "relu6", "gelu", "silu"]

    in_torch = (
        ("relu", "ReLU"),
        ("relu6", "ReLU6"),
        ("gelu", "GELU"),
        ("silu", "SiLU"),
    )

    def overwrites(self) -> bool:
        """The backward of the rectifiers looks at their output alone."""
        return self.op in ("relu", "relu6")

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        match self.op:
            case "relu":
                return graph.node("Relu", inputs)
            case "relu6":
                return graph.node("Clip", [*inputs, graph.number(0), graph.number(6)])
            case "gelu":
                return graph.node("Gelu", inputs)
            case "silu":
                return graph.node("Mul", [*inputs, graph.node("Sigmoid", inputs)])


Family = Activation
