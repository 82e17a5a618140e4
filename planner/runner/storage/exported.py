"""A trained network as a run leaves it: a description beside its weights, found and compared. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from planner.errors import InputError, StorageError
from planner.model.load import load_model
from planner.model.shapes import Shape, layer_output, model_sizes, walk
from planner.model.zoo import unit_names
from planner.operators.unit_graph import UnitGraph
from planner.runner.storage.safetensors import Entry, TensorFile, merge_tensors
from planner.schema.model import Layer, Model, Unit
from planner.schema.run_folder import RunFolder

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


def find_full(path: Path) -> Exported:
    """As `find_exported`, but of a run whose best exit came out the full network, which lies beside it."""
    full = RunFolder(path).full_description
    return find_exported(full if full.is_file() else path)


def find_exported(path: Path) -> Exported:
    """The network of a run's output folder, or the one whose `.json` or `.safetensors` file is given.

    Description and weights lie beside each other under one name. Raises InputError where one of them is missing or
    cannot be read, and where the weights are not those of the description; their content is not read.
    """
    description = _description(path)
    weights = description.with_suffix(".safetensors")
    if not weights.is_file():
        raise InputError(f"{weights}: is missing; the weights lie beside their description under the same name")
    model = load_model(str(description), None, None)
    check_weights(model, weights)
    return Exported(model, weights)


def _description(path: Path) -> Path:
    if path.is_dir():
        found = RunFolder(path).description
        if not found.is_file():
            raise InputError(f"{found}: is missing; a run writes it at its end, so give a finished run's output folder")
        return found
    if path.suffix not in (".json", ".safetensors"):
        raise InputError(f"{path}: is neither a folder nor a .json or .safetensors file; give a run's output folder")
    found = path.with_suffix(".json")
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
    for index, (unit, shape) in enumerate(_units(model)):
        yield from _tensors(unit.layers, shape, f"units.{index}.")


def own_names(model: Model) -> dict[str, str]:
    """What the network that a model was made of calls its tensors, by their names in a model's file.

    Unit graphs know it, and the zoo of its own units. A constant that several units read is in the file once for each.
    """
    found = {name: tensor.name for name, tensor in model.graph_tensors()}
    for index, ((unit, shape), names) in enumerate(zip(_units(model), unit_names(model), strict=False)):
        if names:
            ours = (entry.name for entry in _tensors(unit.layers, shape, f"units.{index}."))
            found.update(zip(ours, names, strict=True))
    return found


def state_names(model: Model) -> dict[str, str]:
    """The names of tensors in a model's file, by those in the state of the network that it was made of."""
    left_out = {name for name, tensor in model.graph_tensors() if not tensor.persistent}
    return {own: name for name, own in reversed(own_names(model).items()) if name not in left_out}


def write_state(exported: Exported, target: Path) -> None:
    """Write the weights as `load_state_dict` of the network takes them that the model was made of.

    What is no part of its state is left out. Raises InputError where the model is of no such network, StorageError.
    """
    names = {name: own for own, name in state_names(exported.model).items()}
    if not names:
        raise InputError(
            f"{exported.model.name}: is a list of layers; its weights have no names but ours, "
            "under which its .safetensors file has them"
        )
    merge_tensors([exported.weights], target, names.get)


def _units(model: Model) -> Iterator[tuple[Unit, Shape]]:
    """Each unit with its input."""
    shapes = (model.input, *(sizes.output for sizes in model_sizes(model)))
    return zip(model.units, shapes, strict=False)


def _tensors(layers: tuple[Layer, ...], shape: Shape, name: str = "") -> Iterator[Entry]:
    for path, layer, given in walk(layers, shape, name):
        for weight in layer.weights(given):
            yield Entry(f"{path}.{weight.name}", "I64" if weight.kind == "counter" else "F32", weight.shape)


def streamed_bytes(model: Model, micro_batch: int) -> int:
    """About the most that running one unit at a time takes above the runtime's own bytes; rather too much.

    A guess to begin with, for what runs is held to what the kernel counts: libraries may copy weights into an order of
    their own, and of a layer's input, its output and the unit's input each may be there once more.
    """
    highest = 0
    for unit, shape in _units(model):
        tensor_bytes = sum(entry.size_bytes for entry in _tensors(unit.layers, shape))
        beside = sum(prod(given.shape) for given in unit.further_inputs)
        activations = 2 * (prod(shape) + beside + _widest(unit.layers, shape))
        highest = max(highest, 2 * tensor_bytes + _ITEM_BYTES * micro_batch * activations)
    # Two buffers of the loader, and the samples as the network is given them.
    return highest + micro_batch * (2 * model.sample_bytes + model.tensor_bytes)


def _widest(layers: tuple[Layer, ...], shape: Shape) -> int:
    """Most values of one sample that a layer reads and writes; one with layers inside holds both while those run."""
    widest = 0
    for layer in layers:
        after = layer_output(layer, shape)
        further = layer.outputs(shape)[1:] if isinstance(layer, UnitGraph) else ()
        inside = max((_widest(chain, shape) for chain in layer.chains().values()), default=0)
        widest = max(widest, inside + prod(shape) + sum(map(prod, (after, *further))))
        shape = after
    return widest
