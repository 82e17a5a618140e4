"""Heads that give something for every place of the output: a pixel, a token."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from planner.heads.base import Head
from planner.operators.base import Shape
from planner.operators.convolution import Conv2d
from planner.operators.layers import Layer
from planner.operators.unit_graph import GraphTensor, UnitGraph


@dataclass(frozen=True)
class PixelHead(Head):
    """A 1×1 convolution, and its output brought to the size that is wanted (bilinear)."""

    kind: Literal["pixel"]

    @property
    def words(self) -> str:
        return "1×1, resized"

    def fits(self, shape: Shape, output: Shape) -> bool:
        return len(shape) == len(output) == 3

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        convolution = Conv2d("conv2d", output[0], 1)
        if shape[1:] == output[1:]:
            return (convolution,)
        resized = f"y = upsample_bilinear2d.vec(x, {list(output[1:])}, false, none)"
        return convolution, UnitGraph("graph", (resized,), "y")


@dataclass(frozen=True)
class PlaceHead(Head):
    """A linear layer at every place of a sequence."""

    kind: Literal["place"]

    @property
    def words(self) -> str:
        return "linear at each place"

    def fits(self, shape: Shape, output: Shape) -> bool:
        return len(shape) == len(output) == 2 and shape[0] == output[0]

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        bound = 1 / sqrt(shape[1])
        tensors = (
            GraphTensor("weight", (output[1], shape[1]), start="uniform", scale=bound),
            GraphTensor("bias", (output[1],), start="constant"),
        )
        return (UnitGraph("graph", ("y = linear(x, $weight, $bias)",), "y", tensors),)
