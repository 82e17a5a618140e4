"""The mean of every channel of an output of any rank: what linear exits see."""

from __future__ import annotations

from planner.operators.base import Shape
from planner.operators.layers import Layer
from planner.operators.pooling import AdaptivePool2d
from planner.operators.reshaping import Flatten
from planner.operators.unit_graph import UnitGraph


def pooled_features(shape: Shape) -> int:
    """How many numbers of a sample they are. In sequences channels come first or last, so both means are taken."""
    return sum(shape) if len(shape) == 2 else shape[0]


def pool(shape: Shape) -> tuple[Layer, ...]:
    """Layers that take them of an output of `shape` (per sample); none where it is flat."""
    match len(shape):
        case 1:
            return ()
        case 2:
            lines = "rows = mean.dim(x, [2])", "columns = mean.dim(x, [1])", "y = cat([rows, columns], 1)"
            return (UnitGraph("graph", lines, "y"),)
        case 3:
            return AdaptivePool2d("adaptive_avg_pool2d", 1, 1), Flatten("flatten")
    return (UnitGraph("graph", (f"y = mean.dim(x, {list(range(2, len(shape) + 1))})",), "y"),)
