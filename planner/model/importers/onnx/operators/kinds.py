"""Every operator of ONNX that is known, by name."""

from __future__ import annotations

from collections.abc import Mapping

from planner.model.importers.onnx.operators import (
    activation,
    convolution,
    elementwise,
    normalisation,
    pooling,
    recurrent,
    reduction,
    reshaping,
    sampling,
    selection,
)
from planner.model.importers.onnx.operators.base import Importer

IMPORTERS: Mapping[str, Importer] = {
    name: importer
    for room in (
        activation,
        convolution,
        elementwise,
        normalisation,
        pooling,
        recurrent,
        reduction,
        reshaping,
        sampling,
        selection,
    )
    for name, importer in room.IMPORTERS.items()
}
