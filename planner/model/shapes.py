"""What flows through a model: shapes, parameters, normalisation limits. Counted in Python integers, without torch.

This is the gate for untrusted descriptions: whatever passes here fits `planner.limits`, and every layer fits its
neighbours, before any tensor (even a meta one) exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from planner import limits
from planner.errors import ModelError
from planner.operators.base import Shape as Shape
from planner.operators.base import show
from planner.operators.unit_graph import UnitGraph
from planner.schema.inputs import most_extent
from planner.schema.model import Layer, Model, Unit


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
    further: tuple[Shape, ...] = ()
    """Shapes of one sample's tensors that leave a unit beside its output."""

    @property
    def output_numbers(self) -> int:
        """Numbers of one sample that leave, all tensors together."""
        return sum(map(prod, (self.output, *self.further)))


def unit_sizes(unit: Unit, shape: Shape) -> Sizes:
    """Sizes of one unit fed with `shape`. Raises ModelError naming the layer."""
    sizes = _chain(unit.layers, shape, unit.name, 0)
    (first, *_) = unit.layers
    if not isinstance(first, UnitGraph) or not first.further_results:
        return sizes
    further = first.outputs(shape)[1:]
    for each in further:
        _check_activation(each, f"{unit.name}, layer 0 (graph)")
    return replace(sizes, further=further)


def layer_output(layer: Layer, shape: Shape) -> Shape:
    """Shape of one sample behind a single layer fed with `shape`. Raises ModelError naming the operator."""
    return _chain((layer,), shape, "alone", 0).output


def walk(layers: tuple[Layer, ...], shape: Shape, name: str = "") -> Iterator[tuple[str, Layer, Shape]]:
    """Each layer of a chain fed with `shape`, those within it first: its name in the chain's module behind `name`, and
    its input.
    """
    for index, layer in enumerate(layers):
        for part, chain in layer.chains().items():
            yield from walk(chain, shape, f"{name}{index}.{part}.")
        yield f"{name}{index}", layer, shape
        shape = layer_output(layer, shape)


def model_sizes(model: Model) -> tuple[Sizes, ...]:
    """Sizes of every unit, and proof that the chain holds: each unit fits the one before, the last gives `classes`.

    Raises ModelError with the unit's index.
    """
    shape: Shape = model.input
    found: list[Sizes] = []
    total = 0
    for index, unit in enumerate(model.units):
        try:
            _check_further(unit, found[-1].further if found else ())
            sizes = unit_sizes(unit, shape)
        except ModelError as error:
            raise ModelError(str(error), unit=index) from None
        total += sizes.parameters
        if total > limits.MAX_PARAMETERS:
            raise ModelError(f"{unit.name}: the model passes {limits.MAX_PARAMETERS} parameters here", unit=index)
        found.append(sizes)
        shape = sizes.output
    if shape != model.output:
        wanted = model.task.words(model.classes)
        raise ModelError(
            f"{model.units[-1].name}: gives {show(shape)} per sample, but the model has {wanted}; its last unit must "
            f"{'end in a linear layer of that width' if len(model.output) == 1 else f'give {show(model.output)}'}",
            unit=len(model.units) - 1,
        )
    return tuple(found)


def _check_further(unit: Unit, given: tuple[Shape, ...]) -> None:
    """Raise ModelError unless a unit's further inputs are what the unit before it gives."""
    for taken, shape in zip(unit.further_inputs, given, strict=True):
        if taken.shape != shape:
            raise ModelError(
                f"{unit.name}: takes {show(taken.shape)} as {taken.name}, but what comes before it gives {show(shape)}"
            )


def _check_activation(shape: Shape, here: str) -> None:
    """Raise ModelError unless one sample's output may be of `shape`."""
    if min(shape) < 1:
        raise ModelError(f"{here}: nothing is left of its input ({show(shape)}); the window is larger than it")
    most = most_extent(len(shape), 1)
    if max(shape[1:], default=0) > most:
        raise ModelError(f"{here}: an output of {show(shape)} per sample is beyond an extent of {most}")
    if prod(shape) > limits.MAX_ACTIVATION_NUMEL:
        raise ModelError(f"{here}: an output of {show(shape)} per sample is beyond {limits.MAX_ACTIVATION_NUMEL}")


def _chain(layers: tuple[Layer, ...], shape: Shape, where: str, depth: int) -> Sizes:
    parameters = buffers = counters = 0
    minimum = 1
    for index, layer in enumerate(layers):
        here = f"{where}, layer {index} ({layer.op})"
        sizes = _layer(layer, shape, here, depth)
        shape = sizes.output
        _check_activation(shape, here)
        parameters += sizes.parameters
        buffers += sizes.buffers
        counters += sizes.counters
        minimum = max(minimum, sizes.minimum_micro_batch)
        if parameters > limits.MAX_PARAMETERS:
            raise ModelError(f"{here}: more than {limits.MAX_PARAMETERS} parameters")
    return Sizes(shape, parameters, buffers, counters, minimum)


def _layer(layer: Layer, shape: Shape, here: str, depth: int) -> Sizes:
    chains = layer.chains()
    if chains and depth >= limits.MAX_RESIDUAL_DEPTH:
        raise ModelError(f"{here}: residuals nested deeper than {limits.MAX_RESIDUAL_DEPTH}")
    inside = [_chain(chain, shape, f"{here} {name}", depth + 1) for name, chain in chains.items()]
    try:
        output = layer.output(shape, *(sizes.output for sizes in inside))
    except ValueError as error:
        raise ModelError(f"{here}: {error}") from None
    counts = {"parameter": 0, "buffer": 0, "counter": 0}
    for weight in layer.weights(shape):
        counts[weight.kind] += prod(weight.shape)
    return Sizes(
        output,
        counts["parameter"] + sum(sizes.parameters for sizes in inside),
        counts["buffer"] + sum(sizes.buffers for sizes in inside),
        counts["counter"] + sum(sizes.counters for sizes in inside),
        max(layer.minimum_micro_batch(shape), *(sizes.minimum_micro_batch for sizes in inside), 1),
    )
