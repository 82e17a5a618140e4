"""Elementwise non-linearities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from planner.operators.base import Graph, Operator, Shape


@dataclass(frozen=True)
class Activation(Operator):
    """An elementwise non-linearity."""

    op: Literal["relu", "relu6", "gelu", "silu"]

    in_torch = (
        ("relu", "ReLU", "nn.functional.relu nn.functional.relu_ relu relu_ Tensor.relu Tensor.relu_", ""),
        ("relu6", "ReLU6", "nn.functional.relu6", ""),
        ("gelu", "GELU", "nn.functional.gelu", "approximate"),
        ("silu", "SiLU", "nn.functional.silu", ""),
    )

    def overwrites(self) -> bool:
        """The backward of the rectifiers looks at their output alone."""
        return self.op in ("relu", "relu6")

    @classmethod
    def from_torch(cls, op: str, module: Any) -> Activation:
        if op == "gelu" and module.approximate != "none":
            raise ValueError(f"approximate is {module.approximate!r}; only the exact gelu can be expressed")
        return cls(cast(Any, op))

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
