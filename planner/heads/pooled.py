"""An exit that costs next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.heads.base import Head
from planner.heads.pooling import pool, pooled_features
from planner.operators.base import Shape
from planner.operators.layers import Layer
from planner.operators.linear import Linear


@dataclass(frozen=True)
class PooledHead(Head):
    """The mean of every channel, and a linear layer. No gradient comes from it: it is fitted to the trained block's
    outputs, in one pass."""

    kind: Literal["pooled"]

    @property
    def words(self) -> str:
        return "pooled"

    @staticmethod
    def features(shape: Shape) -> int:
        """How many numbers of a sample its linear layer sees."""
        return pooled_features(shape)

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        return *pool(shape), Linear("linear", output[0])
