"""From what a person wrote to the network that it means: written layers become unit graphs."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, cast

from planner.errors import DocumentError, ModelError
from planner.model.graph_builder import GraphBuilder
from planner.model.shapes import Shape, layer_output, unit_sizes
from planner.model.written.base import Written
from planner.model.written.layers import Residual, WrittenLayer, numbered, write_chain
from planner.operators import layers as operators
from planner.operators.unit_graph import UnitGraph
from planner.schema.model import Layer, Model, Unit


@dataclass(frozen=True)
class WrittenUnit(Unit):
    """The smallest piece that is never split."""

    layers: tuple[WrittenLayer, ...]  # type: ignore[assignment]  # more of them
    """Applied in order."""


@dataclass(frozen=True)
class WrittenModel(Model):
    """A network as a chain of units with one tensor between neighbours."""

    units: tuple[WrittenUnit, ...]
    """The chain; the last unit is the model's own classifier."""


def expand(written: WrittenModel) -> Model:
    """The network that a description means.

    Units of layers that networks have are left as they are; in any other, what lies between its graphs becomes a graph,
    whose tensors are called `<unit>.<layer's place>.weight` and the like.

    Raises DocumentError with the place in what was written, or ModelError naming unit and layer.
    """
    shape: Shape = written.input
    dtype = "int64" if written.input_dtype == "int64" else "float32"
    units: list[Unit] = []
    for index, unit in enumerate(written.units):
        found = _plain_unit(unit, shape)
        if found is None:
            if written.schema == "model/1":
                raise DocumentError(f"$.units[{index}].layers", f"{_strange(unit, shape)}; model/2 has")
            found = Unit(unit.name, tuple(_graphs(unit, index, shape, "float32" if index else dtype)))
        units.append(found)
        if index + 1 < len(written.units):
            try:
                shape = unit_sizes(found, shape).output
            except ModelError as error:
                raise ModelError(str(error), unit=index) from None
    values = {field.name: getattr(written, field.name) for field in fields(Model)}
    try:
        return Model(**values | {"units": tuple(units)})
    except ValueError as error:
        raise DocumentError("$", str(error)) from None


def _plain_unit(unit: WrittenUnit, shape: Shape) -> Unit | None:
    """It, if networks have all of its layers. What does not fit is left to whoever works out its sizes."""
    layers = _plain(unit.layers, None)
    if layers is not None:
        with suppress(ModelError):
            layers = _plain(unit.layers, shape)
    return None if layers is None else Unit(unit.name, layers)


def _plain(chain: tuple[WrittenLayer, ...], shape: Shape | None) -> tuple[Layer, ...] | None:
    """The layers as networks have them, for what comes in (None: for features). Raises ModelError: they do not fit."""
    found: list[Layer] = []
    for layer in chain:
        plain = _plain_layer(layer, shape)
        if plain is None:
            return None
        found.append(plain)
        shape = None if shape is None else layer_output(plain, shape)
    return tuple(found)


def _plain_layer(layer: WrittenLayer, shape: Shape | None) -> Layer | None:
    if isinstance(layer, Residual):
        body, shortcut = _plain(layer.body, shape), _plain(layer.shortcut, shape)
        return None if body is None or shortcut is None else operators.Residual("residual", body, shortcut)
    if isinstance(layer, Written):
        return cast("Layer | None", layer.plain(shape or (1,)))
    return cast("Layer", layer)


def _strange(unit: WrittenUnit, shape: Shape) -> str:
    """Which of its layers model/1 has none of."""
    name = next(layer.op for layer in unit.layers if _plain_layer(layer, None) is None or layer.op == "linear")
    return f"unit {unit.name[:60]!r} has a {name}, which model/1 has none of"


def _graphs(unit: WrittenUnit, index: int, shape: Shape, dtype: str) -> list[Layer]:
    """A graph for all layers between those that are one; `dtype` is that of what comes in."""
    name = unit.name if re.fullmatch(r"[\w-]+(\.[\w-]+)*", unit.name) else f"units.{index}"
    found: list[Layer] = []
    for is_graph, group in groupby(numbered(unit.layers), key=lambda each: isinstance(each[1], UnitGraph)):
        chain = list(group)
        if is_graph:
            made: list[Any] = [layer for _, layer in chain]
        else:
            g = GraphBuilder(shape, "float32" if found else dtype)
            g.result = write_chain(g, chain, g.x, name, f"$.units[{index}].layers")
            made = [g.graph()]
        for graph in made:
            try:
                shape = layer_output(graph, shape)
            except ModelError as error:
                raise ModelError(f"{unit.name}, {error}", unit=index) from None
        found += made
    return found
