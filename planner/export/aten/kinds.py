"""Every operator that is written in ONNX, by name; a form that writes into its argument goes by the other's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from planner.export.aten import creation, elementwise, layers, pooling, recurrent, reduction, reshaping, sampling
from planner.export.aten.base import Writer

WRITERS: Mapping[str, Writer] = {
    name: writer
    for family in (creation, elementwise, layers, pooling, recurrent, reduction, reshaping, sampling)
    for name, writer in family.WRITERS.items()
}

_OTHER_NAMES: Mapping[str, str] = {
    "pow.Scalar": "pow.Tensor_Scalar",
    "pow.Tensor": "pow.Tensor_Tensor",
    "floor_divide.Tensor": "floor_divide",
}
"""Of forms that write into their argument, where these are called otherwise."""


def writer_name(operator: str, *, overwrites: bool) -> str:
    """What an operator goes by in the table: `relu_` as `relu`."""
    if not overwrites:
        return operator
    name = re.sub(r"_(?=\.|$)", "", operator, count=1)
    return _OTHER_NAMES.get(name, name)
