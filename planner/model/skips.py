"""How much of what passes at a boundary was made where: several tensors pass where skips are carried along. No torch.

A tensor that is carried through a unit stays where it is: the unit gives the same tensor that it was given.
"""

from __future__ import annotations

from math import prod

from planner.model.shapes import model_sizes
from planner.operators.unit_graph import UnitGraph
from planner.schema.model import Model


def carried_numbers(model: Model) -> tuple[tuple[int, ...], ...] | None:
    """By unit and boundary: numbers of one sample that pass at the boundary and were made before the unit.

    So many are no news of units from there to the boundary: they are there already. None where single tensors pass
    everywhere. The network's own input counts as made by the first unit.
    """
    count = len(model.units)
    if all(map(model.is_single, range(count + 1))):
        return None
    found = [[0] * (count + 1) for _ in range(count + 1)]
    origins = [0]
    for index, (unit, sizes) in enumerate(zip(model.units, model_sizes(model), strict=True)):
        origins = _behind(unit.layers[0], origins, index)
        for origin, shape in zip(origins, (sizes.output, *sizes.further), strict=True):
            for first in range(origin + 1, index + 1):
                found[first][index + 1] += prod(shape)
    return tuple(map(tuple, found))


def _behind(layer: object, origins: list[int], index: int) -> list[int]:
    """The units that have made what leaves the unit at `index`, from those of what comes in."""
    if not isinstance(layer, UnitGraph):
        return [index]
    made = dict(zip(layer.inputs, origins, strict=True))
    return [made.get(name, index) for name in layer.results]
