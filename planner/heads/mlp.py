"""A perceptron over pooled positions: pool → 1×1 convolutions → pool → linear layers.

The shape of Decoupled Greedy Learning's auxiliary networks (Belilovsky and others, arXiv 1901.08164). There widths are
those of the unit in front and the last linear layers are normalised; here the width is a choice, and they are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from planner.heads.base import Head, HeadKind
from planner.heads.pooling import pool
from planner.operators.activation import Activation
from planner.operators.base import Shape, between
from planner.operators.convolution import Conv2d
from planner.operators.layers import Layer
from planner.operators.linear import Linear
from planner.operators.normalisation import BatchNorm2d
from planner.operators.pooling import AdaptivePool2d
from planner.operators.reshaping import Flatten

WIDTHS = (256, 64, 16)
"""Widths that are measured, widest first."""

_QUARTER = 4
"""Rows and columns are pooled to this part of what there is before the convolutions,"""
_EXTENT = 8
"""to so many at most,"""
_POOLED = 2
"""and to so many behind them."""
_CONVOLUTIONS = 3
_HIDDEN = 2


@dataclass(frozen=True)
class MlpHead(Head):
    """Pool, three 1×1 convolutions, pool, two hidden linear layers, linear; behind what is no image without the
    convolutions."""

    kind: Literal["mlp"]
    width: int
    """Filters of each convolution, and outputs of each hidden layer."""

    asked_as: ClassVar[HeadKind | None] = "mlp"

    def __post_init__(self) -> None:
        between("width", self.width, 1, 4096)

    @property
    def depends_on_batch(self) -> bool:
        return True

    @property
    def rank(self) -> int:
        return self.width

    @property
    def words(self) -> str:
        return f"mlp, {self.width} wide"

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        """The convolutions see a quarter of the rows and columns, at most 8×8; the linear layers at most 2×2."""
        found: list[Layer] = []
        if len(shape) == 3:
            extents = tuple(min(extent, max(_POOLED, min(-(-extent // _QUARTER), _EXTENT))) for extent in shape[1:])
            if extents != shape[1:]:
                found.append(AdaptivePool2d("adaptive_avg_pool2d", *extents))
            for _ in range(_CONVOLUTIONS):
                found += [Conv2d("conv2d", self.width, 1, bias=False), BatchNorm2d("batchnorm2d"), Activation("relu")]
            pooled = tuple(min(extent, _POOLED) for extent in extents)
            if pooled != extents:
                found.append(AdaptivePool2d("adaptive_avg_pool2d", *pooled))
            found.append(Flatten("flatten"))
        else:
            found += pool(shape)
        for _ in range(_HIDDEN):
            found += [Linear("linear", self.width), Activation("relu")]
        return (*found, Linear("linear", output[0]))
