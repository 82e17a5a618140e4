"""The same layers over fewer channels: what a unit of a network is copied as, where it is to cost less.

Rows and columns stay. Whether the thinner layers fit each other is not foreseen but worked out: where a graph says
numbers of channels in its lines, or groups do not divide them, there is no thinner copy.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from planner.operators.base import Shape
from planner.operators.convolution import Conv2d
from planner.operators.layers import Layer, Residual
from planner.operators.linear import Linear
from planner.operators.unit_graph import GraphTensor, UnitGraph


def output_of(layers: tuple[Layer, ...], shape: Shape) -> Shape:
    """Shape of one sample behind layers fed with `shape`. Raises ValueError where one does not fit."""
    for layer in layers:
        shape = layer.output(shape, *(output_of(chain, shape) for chain in layer.chains().values()))
    return shape


def thinned(layers: tuple[Layer, ...], shape: Shape, divisor: int) -> tuple[tuple[Layer, ...], Shape]:
    """Layers fed with `shape` with so many times fewer channels throughout, and what these are fed with.

    Raises ValueError where there are no such layers.
    """
    narrow = _thin_shape(shape, divisor)
    found = _thin_chain(layers, shape, divisor)
    given, wanted = output_of(found, narrow), _thin_shape(output_of(layers, shape), divisor)
    if given != wanted:
        raise ValueError(f"thinner layers give {given}, not {wanted}")
    return found, narrow


def _thin_shape(shape: Shape, divisor: int) -> Shape:
    """Channels come first in images and rows of numbers, last in sequences."""
    if len(shape) == 2:
        return shape[0], _part(shape[1], divisor)
    return _part(shape[0], divisor), *shape[1:]


def _part(extent: int, divisor: int) -> int:
    whole, rest = divmod(extent, divisor)
    if rest:
        raise ValueError(f"{divisor} does not divide {extent} channels")
    return whole


def _thin_chain(layers: tuple[Layer, ...], shape: Shape, divisor: int) -> tuple[Layer, ...]:
    found: list[Layer] = []
    for layer in layers:
        found.append(_thin_layer(layer, shape, divisor))
        shape = output_of((layer,), shape)
    return tuple(found)


def _thin_layer(layer: Layer, shape: Shape, divisor: int) -> Layer:
    match layer:
        case Conv2d():
            is_depthwise = layer.groups == shape[0] > 1
            groups = _part(layer.groups, divisor) if is_depthwise else layer.groups
            return replace(layer, out_channels=_part(layer.out_channels, divisor), groups=groups)
        case Linear():
            return replace(layer, out_features=_part(layer.out_features, divisor))
        case Residual():
            body, shortcut = (_thin_chain(chain, shape, divisor) for chain in (layer.body, layer.shortcut))
            return replace(layer, body=body, shortcut=shortcut)
        case UnitGraph():
            return replace(layer, tensors=tuple(_thin_tensor(tensor, divisor) for tensor in layer.tensors))
    return layer


def _thin_tensor(tensor: GraphTensor, divisor: int) -> GraphTensor:
    """Extents of channels are the first of a vector, and the first two of what mixes them; a 1 stays."""
    if tensor.start == "values":
        raise ValueError(f"{tensor.name} is given number by number")
    mixed = tensor.shape[:2]
    shape = (*(1 if extent == 1 else _part(extent, divisor) for extent in mixed), *tensor.shape[2:])
    spread = len(tensor.shape) > 1 and tensor.start in ("normal", "uniform") and mixed[1] > 1
    return replace(tensor, shape=shape, scale=tensor.scale * sqrt(divisor) if spread else tensor.scale)
