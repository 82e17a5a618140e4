"""An exit that costs next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.heads.base import Head
from planner.operators.base import Shape
from planner.operators.layers import Layer
from planner.operators.linear import Linear
from planner.operators.pooling import AdaptivePool2d
from planner.operators.reshaping import Flatten


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
        return shape[0]

    def layers(self, shape: Shape, outputs: int) -> tuple[Layer, ...]:
        if len(shape) == 1:
            return (Linear("linear", outputs),)
        return AdaptivePool2d("adaptive_avg_pool2d", 1, 1), Flatten("flatten"), Linear("linear", outputs)
