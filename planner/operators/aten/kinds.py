"""Every operator that a unit graph may hold, by name."""

from __future__ import annotations

from collections.abc import Mapping

from planner.operators.aten import (
    activation,
    attention,
    convolution,
    creation,
    elementwise,
    normalisation,
    padding,
    pooling,
    reduction,
    reshaping,
    sampling,
    selection,
)
from planner.operators.aten.base import AtenOperator

ATEN: Mapping[str, AtenOperator] = {
    name: operator
    for room in (
        activation,
        attention,
        convolution,
        creation,
        elementwise,
        normalisation,
        padding,
        pooling,
        reduction,
        reshaping,
        sampling,
        selection,
    )
    for name, operator in room.OPERATORS.items()
}
