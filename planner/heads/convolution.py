"""A small network as head: pool → conv → norm → activation → pool → linear.

NeuroFlux (arXiv 2402.14139, section 4.1) adapts the number of filters; pooling *before* the convolution, which it does
not do, keeps a head from ever setting the peak.
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

FILTERS = (256, 64, 16)
"""Filter counts that are measured, widest first. 256 is classic local learning's."""

_EXTENT = 4
_POOLED = 2


@dataclass(frozen=True)
class ConvHead(Head):
    """Pool, convolution, normalisation, activation, pool, linear; behind what is no image pool and linear."""

    kind: Literal["auxiliary"]
    filters: int
    """Filters of its convolution."""

    asked_as: ClassVar[HeadKind | None] = "pooled-conv"

    def __post_init__(self) -> None:
        between("filters", self.filters, 1, 4096)

    @property
    def depends_on_batch(self) -> bool:
        return True

    @property
    def rank(self) -> int:
        return self.filters

    @property
    def filter_count(self) -> int:
        return self.filters

    @property
    def words(self) -> str:
        return f"{self.filters} filters"

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        """The convolution sees at most 4×4 positions; without rows and columns there is none."""
        (outputs,) = output
        if len(shape) != 3:
            return *pool(shape), Linear("linear", outputs)
        _, height, width = shape
        found: list[Layer] = []
        if height > _EXTENT or width > _EXTENT:
            height, width = min(height, _EXTENT), min(width, _EXTENT)
            found.append(AdaptivePool2d("adaptive_avg_pool2d", height, width))
        found += [Conv2d("conv2d", self.filters, 3, padding=1, bias=False), BatchNorm2d("batchnorm2d")]
        found.append(Activation("relu"))
        if height > _POOLED or width > _POOLED:
            found.append(AdaptivePool2d("adaptive_avg_pool2d", min(height, _POOLED), min(width, _POOLED)))
        return (*found, Flatten("flatten"), Linear("linear", outputs))
