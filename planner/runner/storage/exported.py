"""A trained network as a run leaves it: a description beside its weights, found and compared. No torch here."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import assert_never

from planner.errors import InputError, StorageError
from planner.model.load import load_model
from planner.model.shapes import Shape, layer_output
from planner.runner.protocol import paths
from planner.runner.storage.safetensors import Entry, TensorFile
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
)

_ITEM_BYTES = 4
_SHOWN = 3


@dataclass(frozen=True)
class Exported:
    """A network on storage."""

    model: Model
    """Its description."""
    weights: Path
    """Its safetensors file: exactly the tensors that the description names."""

    @property
    def folder(self) -> Path:
        """Where both lie."""
        return self.weights.parent


def find_exported(place: Path) -> Exported:
    """The network of a run's output folder, or the one whose `.json` or `.safetensors` file is given.

    Description and weights lie beside each other under one name. Raises InputError where one of them is missing or
    cannot be read, and where the weights are not those of the description; their content is not read.
    """
    description = _description(place)
    weights = description.with_suffix(".safetensors")
    if not weights.is_file():
        raise InputError(f"{weights}: is missing; the weights lie beside their description under the same name")
    model = load_model(str(description), None, None)
    check_weights(model, weights)
    return Exported(model, weights)


def _description(place: Path) -> Path:
    if place.is_dir():
        found = place / paths.DESCRIPTION
        if not found.is_file():
            raise InputError(f"{found}: is missing; a run writes it at its end, so give a finished run's output folder")
        return found
    if place.suffix not in (".json", ".safetensors"):
        raise InputError(f"{place}: is neither a folder nor a .json or .safetensors file; give a run's output folder")
    found = place.with_suffix(".json")
    if not found.is_file():
        raise InputError(f"{found}: is missing; the description lies beside its weights under the same name")
    return found


def check_weights(model: Model, weights: Path) -> None:
    """Raise InputError unless a file holds exactly the tensors of `model`, by name, type and shape."""
    try:
        file = TensorFile(weights)
    except StorageError as error:
        raise InputError(str(error)) from None
    file.close()
    given = {entry.name: entry for entry in file.entries}
    wanted = {entry.name: entry for entry in tensors_of(model)}
    for name, entry in wanted.items():
        if name not in given:
            raise InputError(f"{weights}: holds no tensor {name!r}, which {model.name!r} has")
        if given[name] != entry:
            found, right = (f"{each.dtype} {_show(each.shape)}" for each in (given[name], entry))
            raise InputError(f"{weights}: {name!r} is {found}, but {model.name!r} has {right}")
    if more := [name for name in given if name not in wanted]:
        shown = ", ".join(repr(name[:80]) for name in more[:_SHOWN])
        raise InputError(f"{weights}: holds {len(more)} tensors that {model.name!r} has not: {shown}")


def _show(shape: Shape) -> str:
    return "×".join(str(extent) for extent in shape) or "(one number)"


def tensors_of(model: Model) -> Iterator[Entry]:
    """Every tensor of a model's file, named as `planner.model.build` names them, in the order of the chain."""
    shape: Shape = model.input
    for index, unit in enumerate(model.units):
        shape = yield from _chain_tensors(unit.layers, shape, f"units.{index}")


def _chain_tensors(layers: tuple[Layer, ...], shape: Shape, prefix: str) -> Generator[Entry, None, Shape]:
    """The tensors of a chain; the generator's value is the shape behind it."""
    for index, layer in enumerate(layers):
        name = f"{prefix}.{index}"
        if isinstance(layer, Residual):
            yield from _chain_tensors(layer.body, shape, f"{name}.body")
            yield from _chain_tensors(layer.shortcut, shape, f"{name}.shortcut")
        else:
            yield from _layer_tensors(layer, shape, name)
        shape = layer_output(layer, shape)
    return shape


def _layer_tensors(layer: Layer, shape: Shape, name: str) -> Iterator[Entry]:
    match layer:
        case Conv2d():
            yield Entry(f"{name}.weight", "F32", _kernel_shape(layer, shape[0]))
            if layer.bias:
                yield Entry(f"{name}.bias", "F32", (layer.out_channels,))
        case Linear():
            yield Entry(f"{name}.weight", "F32", (layer.out_features, shape[0]))
            if layer.bias:
                yield Entry(f"{name}.bias", "F32", (layer.out_features,))
        case BatchNorm2d():
            for part in ("weight", "bias", "running_mean", "running_var"):
                yield Entry(f"{name}.{part}", "F32", (shape[0],))
            yield Entry(f"{name}.num_batches_tracked", "I64", ())
        case Activation() | AdaptivePool2d() | Dropout() | Flatten() | Pool2d() | Residual():
            pass  # what lies in a residual is in its chains
        case _:
            assert_never(layer)


def _kernel_shape(layer: Conv2d, channels: int) -> Shape:
    return (layer.out_channels, channels // layer.groups, layer.kernel, layer.kernel)


def streamed_bytes(model: Model, micro_batch: int) -> int:
    """About the most that running one unit at a time takes above the runtime's own bytes; rather too much.

    A guess to begin with, for what runs is held to what the kernel counts: libraries may copy weights into an order of
    their own, and of a layer's input, its output and the unit's input each may be there once more.
    """
    shape: Shape = model.input
    highest = 0
    for unit in model.units:
        entries = _Collected()
        after = entries.collect(unit.layers, shape)
        activations = 2 * (prod(shape) + entries.widest)
        highest = max(highest, 2 * entries.tensor_bytes + _ITEM_BYTES * micro_batch * activations)
        shape = after
    # Two buffers of the loader, a byte for each value, and the images as numbers.
    return highest + micro_batch * prod(model.input) * (2 + _ITEM_BYTES)


class _Collected:
    """What one unit takes."""

    def __init__(self) -> None:
        self.tensor_bytes = 0
        self.widest = 0
        """Most values of one sample that a layer reads and writes."""

    def collect(self, layers: tuple[Layer, ...], shape: Shape) -> Shape:
        """Add up a chain's layers; the shape behind it."""
        for layer in layers:
            after = layer_output(layer, shape)
            held = 0
            if isinstance(layer, Residual):
                inside = _Collected()
                inside.collect(layer.body, shape)
                inside.collect(layer.shortcut, shape)
                self.tensor_bytes += inside.tensor_bytes
                held = inside.widest
            else:
                self.tensor_bytes += sum(entry.size_bytes for entry in _layer_tensors(layer, shape, ""))
            self.widest = max(self.widest, held + prod(shape) + prod(after))
            shape = after
        return shape
