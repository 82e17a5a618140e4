"""What flows through a model: shapes, parameters, normalisation limits. Counted in Python integers, without torch.

This is the gate for untrusted descriptions: whatever passes here fits `planner.limits`, and every layer fits its
neighbours, before any tensor (even a meta one) exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import assert_never

from planner import limits
from planner.errors import ModelError
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Model,
    Pool2d,
    Residual,
    Unit,
)

Shape = tuple[int, ...]
"""One sample: (channels, height, width) or (features,)."""


@dataclass(frozen=True)
class Sizes:
    """What a layer or unit adds to a chain, per sample where it depends on the batch."""

    output: Shape
    """Shape of one sample's output."""
    parameters: int
    """Trainable numbers."""
    buffers: int
    """Float numbers kept beside them (running means and variances)."""
    counters: int
    """64-bit counters (one per batch normalisation: batches tracked)."""
    minimum_micro_batch: int
    """Smallest micro-batch that gives every batch normalisation more than one value per channel: 1 or 2."""


def unit_sizes(unit: Unit, shape: Shape) -> Sizes:
    """Sizes of one unit fed with `shape`. Raises ModelError naming the layer."""
    return _chain(unit.layers, shape, unit.name, 0)


def layer_output(layer: Layer, shape: Shape) -> Shape:
    """Shape of one sample behind a single layer fed with `shape`. Raises ModelError naming the operator."""
    return _chain((layer,), shape, "alone", 0).output


def model_sizes(model: Model) -> tuple[Sizes, ...]:
    """Sizes of every unit, and proof that the chain holds: each unit fits the one before, the last gives `classes`.

    Raises ModelError with the unit's index.
    """
    shape: Shape = model.input
    found: list[Sizes] = []
    total = 0
    for index, unit in enumerate(model.units):
        try:
            sizes = unit_sizes(unit, shape)
        except ModelError as error:
            raise ModelError(str(error), unit=index) from None
        total += sizes.parameters
        if total > limits.MAX_PARAMETERS:
            raise ModelError(f"{unit.name}: the model passes {limits.MAX_PARAMETERS} parameters here", unit=index)
        found.append(sizes)
        shape = sizes.output
    if shape != (model.classes,):
        raise ModelError(
            f"{model.units[-1].name}: gives {_show(shape)} per sample, but the model has {model.classes} classes; "
            "its last unit must end in a linear layer of that width",
            unit=len(model.units) - 1,
        )
    return tuple(found)


def _show(shape: Shape) -> str:
    return "×".join(str(extent) for extent in shape)


def _chain(layers: tuple[Layer, ...], shape: Shape, where: str, depth: int) -> Sizes:
    parameters = buffers = counters = 0
    minimum = 1
    for index, layer in enumerate(layers):
        place = f"{where}, layer {index} ({layer.op})"
        sizes = _layer(layer, shape, place, depth)
        shape = sizes.output
        if min(shape) < 1:
            raise ModelError(f"{place}: nothing is left of its input ({_show(shape)}); the window is larger than it")
        if max(shape[1:], default=0) > limits.MAX_EXTENT:
            raise ModelError(
                f"{place}: an output of {_show(shape)} per sample is beyond an extent of {limits.MAX_EXTENT}"
            )
        if prod(shape) > limits.MAX_ACTIVATION_NUMEL:
            raise ModelError(f"{place}: an output of {_show(shape)} per sample is beyond {limits.MAX_ACTIVATION_NUMEL}")
        parameters += sizes.parameters
        buffers += sizes.buffers
        counters += sizes.counters
        minimum = max(minimum, sizes.minimum_micro_batch)
        if parameters > limits.MAX_PARAMETERS:
            raise ModelError(f"{place}: more than {limits.MAX_PARAMETERS} parameters")
    return Sizes(shape, parameters, buffers, counters, minimum)


def _layer(layer: Layer, shape: Shape, place: str, depth: int) -> Sizes:
    match layer:
        case Linear():
            if len(shape) != 1:
                raise ModelError(f"{place}: needs a flat input, has {_show(shape)}; put a flatten before it")
            count = shape[0] * layer.out_features + (layer.out_features if layer.bias else 0)
            return Sizes((layer.out_features,), count, 0, 0, 1)
        case Activation() | Dropout():
            return Sizes(shape, 0, 0, 0, 1)
        case Flatten():
            return Sizes((prod(shape),), 0, 0, 0, 1)
        case Residual():
            return _residual(layer, shape, place, depth)
        case Conv2d() | BatchNorm2d() | Pool2d() | AdaptivePool2d():
            return _image_layer(layer, shape, place)
    assert_never(layer)


def _image_layer(layer: Conv2d | BatchNorm2d | Pool2d | AdaptivePool2d, shape: Shape, place: str) -> Sizes:
    if len(shape) != 3:
        raise ModelError(f"{place}: needs channels, rows and columns, has {_show(shape)}")
    channels, height, width = shape
    match layer:
        case Conv2d():
            if channels % layer.groups or layer.out_channels % layer.groups:
                raise ModelError(
                    f"{place}: {layer.groups} groups do not divide {channels} → {layer.out_channels} channels"
                )
            rows = (height + 2 * layer.padding - layer.kernel) // layer.stride + 1
            columns = (width + 2 * layer.padding - layer.kernel) // layer.stride + 1
            weights = layer.out_channels * (channels // layer.groups) * layer.kernel**2
            return Sizes((layer.out_channels, rows, columns), weights + layer.out_channels * layer.bias, 0, 0, 1)
        case BatchNorm2d():
            return Sizes(shape, 2 * channels, 2 * channels, 1, 1 if height * width > 1 else 2)
        case Pool2d():
            rows, columns = _pooled(height, layer), _pooled(width, layer)
            return Sizes((channels, rows, columns), 0, 0, 0, 1)
        case AdaptivePool2d():
            return Sizes((channels, layer.height, layer.width), 0, 0, 0, 1)
    assert_never(layer)


def _pooled(extent: int, layer: Pool2d) -> int:
    span = extent + 2 * layer.padding - layer.kernel
    if not layer.ceil_mode:
        return span // layer.stride + 1
    count = -(-span // layer.stride) + 1
    # The last window has to start inside the input or its left padding (PyTorch's rule).
    return count - 1 if (count - 1) * layer.stride >= extent + layer.padding else count


def _residual(layer: Residual, shape: Shape, place: str, depth: int) -> Sizes:
    if depth >= limits.MAX_RESIDUAL_DEPTH:
        raise ModelError(f"{place}: residuals nested deeper than {limits.MAX_RESIDUAL_DEPTH}")
    body = _chain(layer.body, shape, f"{place} body", depth + 1)
    shortcut = _chain(layer.shortcut, shape, f"{place} shortcut", depth + 1)
    if body.output != shortcut.output:
        raise ModelError(
            f"{place}: body gives {_show(body.output)}, shortcut {_show(shortcut.output)}; they must agree"
        )
    return Sizes(
        body.output,
        body.parameters + shortcut.parameters,
        body.buffers + shortcut.buffers,
        body.counters + shortcut.counters,
        max(body.minimum_micro_batch, shortcut.minimum_micro_batch),
    )
