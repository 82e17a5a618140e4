"""Multiply-adds of layers, counted in Python integers from the registry of operators. No torch here."""

from __future__ import annotations

from planner.model.graph_builder import GraphBuilder
from planner.model.shapes import Shape, model_sizes, walk
from planner.model.written.plain import write_operator
from planner.operators.unit_graph import UnitGraph
from planner.schema.model import Layer, Model, Unit


def layer_flops(unit: Unit, shape: Shape) -> dict[str, int]:
    """Of one sample's forward, for layers of a unit fed with `shape` that have none within: by their module's path."""
    return {path: _count(layer, given) for path, layer, given in walk(unit.layers, shape) if not layer.chains()}


def unit_flops(unit: Unit, shape: Shape) -> int:
    """Of one sample's forward, for a unit fed with `shape`."""
    return sum(layer_flops(unit, shape).values())


def model_flops(model: Model) -> int:
    """Of one sample's forward through the whole network."""
    inputs = (model.input, *(sizes.output for sizes in model_sizes(model)))
    return sum(unit_flops(unit, shape) for unit, shape in zip(model.units, inputs, strict=False))


def _count(layer: Layer, shape: Shape) -> int:
    if isinstance(layer, UnitGraph):
        return layer.multiply_adds(shape)
    g = GraphBuilder(shape)
    g.result = write_operator(g, layer, g.x, "layer", is_free=False)
    if g.result is g.x:
        return 0
    return g.graph().multiply_adds(shape)
