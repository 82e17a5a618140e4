"""Every operator there is, in one closed union, and the one that is made of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from planner.operators import activation, convolution, dropout, linear, normalisation, pooling, reshaping
from planner.operators.base import Graph, Operator, Shape, show
from planner.operators.unit_graph import UnitGraph


@dataclass(frozen=True)
class Residual(Operator):
    """`body(x) + shortcut(x)`; an empty shortcut is the identity."""

    op: Literal["residual"]
    body: tuple[Layer, ...]
    """The layers of the long way."""
    shortcut: tuple[Layer, ...] = ()
    """The layers of the short way."""

    in_torch = (("residual", "Residual"),)
    overwritable = True

    def __post_init__(self) -> None:
        if not self.body:
            raise ValueError("body is empty; a residual needs at least one layer")

    def chains(self) -> Mapping[str, tuple[Layer, ...]]:
        return {"body": self.body, "shortcut": self.shortcut}

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        body, shortcut = inside
        if body != shortcut:
            raise ValueError(f"body gives {show(body)}, shortcut {show(shortcut)}; they must agree")
        return body

    def arguments(self, shape: Shape) -> Mapping[str, Any]:
        return {"inplace": self.body[-1].overwritable}

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        return graph.node("Add", inputs)


Layer = (
    convolution.Family
    | linear.Family
    | normalisation.Family
    | activation.Family
    | pooling.Family
    | dropout.Family
    | reshaping.Family
    | Residual
    | UnitGraph
)

OPERATORS: tuple[type[Layer], ...] = get_args(Layer)


def every_layer(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """The layers of a chain and those within them."""
    for layer in layers:
        yield layer
        for chain in layer.chains().values():
            yield from every_layer(chain)
