"""A network as a chain of units. No torch here.

In `model/1` units are made of layers from a closed list, in `model/2` also of small graphs of ATen operators
(`planner.operators.unit_graph`). Two forms share the schema name: an explicit chain (`Model`) and a zoo name with
arguments (`ZooReference`), which `planner.model.load` expands into the first. Ranges that need no context are checked
on construction; whether layers fit each other is `planner.model.shapes`' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from planner import limits
from planner.operators.activation import Activation
from planner.operators.base import between
from planner.operators.convolution import Conv2d
from planner.operators.dropout import Dropout
from planner.operators.layers import Layer, Residual, every_layer
from planner.operators.linear import Linear
from planner.operators.normalisation import BatchNorm2d
from planner.operators.pooling import AdaptivePool2d, Pool2d
from planner.operators.reshaping import Flatten
from planner.operators.unit_graph import GraphInput, GraphTensor, UnitGraph
from planner.schema.codec import added
from planner.schema.common import check_class_names
from planner.schema.inputs import InputDtype, check_input, copied_bytes, sample_bytes, tensor_bytes
from planner.schema.preprocessing import Normalisation, Resize, check_shorter_side, usual_normalisation
from planner.tasks.base import LabelForm
from planner.tasks.kinds import CLASSIFICATION, AnyTask

__all__ = [
    "Activation", "AdaptivePool2d", "BatchNorm2d", "Conv2d", "Dropout", "Flatten", "Layer", "Linear", "Model", "Pool2d",
    "Residual", "Unit", "ZooReference", "every_layer",
]  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """The smallest piece that is never split."""

    name: str
    """Shown to people; unique within the model."""
    layers: tuple[Layer, ...]
    """Applied in order."""

    def __post_init__(self) -> None:
        count = sum(1 for _ in every_layer(self.layers))
        between("layers: their number, nested ones included,", count, 1, limits.MAX_LAYERS_PER_UNIT)
        between("name: its length", len(self.name), 1, limits.MAX_NAME_LENGTH)
        joined = (each for each in every_layer(self.layers) if isinstance(each, UnitGraph) and _is_joined(each))
        if any(joined) and count > 1:
            raise ValueError("layers: a graph with further inputs or results has to be a unit's only layer")

    @property
    def further_inputs(self) -> tuple[GraphInput, ...]:
        """Tensors that it is given beside the first, which the unit before it gives."""
        (first, *_) = self.layers
        return first.further_inputs if isinstance(first, UnitGraph) else ()

    @property
    def further_results(self) -> tuple[str, ...]:
        """Tensors that it gives beside the first, which the unit behind it takes."""
        (first, *_) = self.layers
        return first.further_results if isinstance(first, UnitGraph) else ()

    @property
    def extracts_features(self) -> bool:
        """Whether it has a layer that does, as a convolution does; linear layers and pooling make a classifier of them.

        Trained behind a cut by itself, a classifier is no better than the head in front of the cut.
        """
        return any(layer.extracts_features for layer in every_layer(self.layers))


def _is_joined(graph: UnitGraph) -> bool:
    return bool(graph.further_inputs or graph.further_results)


def _check_ends(shape: tuple[int, ...], classes: int, task: AnyTask) -> None:
    check_input(shape)
    between("classes", classes, task.least_outputs, limits.MAX_CLASSES)
    task.check_outputs(classes, shape)


@dataclass(frozen=True)
class Model:
    """A network as a chain of units, with one tensor between neighbours, or several where skips are carried along."""

    schema: Literal["model/1", "model/2"]
    """`model/2` may have unit graphs."""
    name: str
    """Shown to people."""
    input: tuple[int, ...]
    """Extents of one sample, 1 to 4 of them: channels, height and width of an image."""
    classes: int
    """Width of the last unit's output."""
    units: tuple[Unit, ...]
    """The chain; the last unit is the model's own classifier."""
    task: AnyTask = added(CLASSIFICATION)
    """What it is trained for."""
    class_names: tuple[str, ...] = added(())
    """What the classes of the data that it was trained on are called, by label; empty: their numbers."""
    normalisation: Normalisation | None = added(None)
    """How samples are normalised before they go in; null: nothing was said, which means (value / 255 - 0.5) / 0.25 of
    images, and anything else as it is."""
    resize: Resize | None = added(None)
    """How images of another size are brought to the input's, before they are normalised; null: nothing was said, and
    they are refused unless they are pictures of a folder."""
    shorter_side: int | None = added(None)
    """The shorter side that every image is resized to, proportions kept, before the input is cut out of its middle;
    null: both sides are brought to the input's, and images that have them are left alone."""
    input_dtype: InputDtype = added("uint8")
    """`uint8`: images, numbers from 0 to 255, which it is given as float32 after normalisation; `float32`: numbers as
    they are; `int64`: tokens."""

    def __post_init__(self) -> None:
        between("name: its length", len(self.name), 1, limits.MAX_NAME_LENGTH)
        _check_ends(self.input, self.classes, self.task)
        between("units: their number", len(self.units), 1, limits.MAX_UNITS)
        if len({unit.name for unit in self.units}) != len(self.units):
            raise ValueError("units: two of them share a name; names are unique within a model")
        tensors = sum(1 for _ in self.graph_tensors())
        between("tensors of its unit graphs: their number", tensors, 0, limits.MAX_GRAPH_TENSORS)
        for unit in self.units if self.schema == "model/1" else ():
            if any(isinstance(layer, UnitGraph) for layer in unit.layers):
                raise ValueError(f"unit {unit.name[:60]!r} is a graph, which model/1 has none of; model/2 has")
        check_class_names(self.class_names, self.classes)
        self.normalised_by.check(self.input)
        self._check_takes()
        self._check_further()

    def is_single(self, boundary: int) -> bool:
        """Whether one tensor passes behind so many units."""
        return not 0 < boundary < len(self.units) or not self.units[boundary].further_inputs

    def may_end(self, boundary: int) -> bool:
        """Whether a segment, a block or a smaller network may end behind so many units.

        Its head reads the first of the tensors that pass there, the `result` of the unit before, and by that alone the
        units in front are trained: every parameter that bears on one of these tensors has to bear on the first.
        """
        return self.is_single(boundary) or self._first_bears_all[boundary]

    def check_end(self, boundary: int, what: str) -> None:
        """Raise ValueError unless a segment may end behind so many units; `what` is what should end there."""
        if not self.may_end(boundary):
            raise ValueError(
                f"{what}: {self._passing(boundary)}, and the first, which a head would read, does not depend on all "
                "parameters that the others do; such boundaries lie inside a segment"
            )

    def _passing(self, boundary: int) -> str:
        last = self.units[boundary - 1].name[:60]
        count = 1 + len(self.units[boundary].further_inputs)
        return f"behind {boundary} units, {last!r} the last of them, {count} tensors pass"

    @cached_property
    def _first_bears_all(self) -> tuple[bool, ...]:
        """By boundary: whether every parameter that bears on a tensor which passes there bears on the first."""
        bearing, found, count = [0], [True], 0
        for unit in self.units:
            graph = unit.layers[0]
            own: dict[str, int] = {}
            if isinstance(graph, UnitGraph) and _is_joined(graph):
                trained = (tensor.name for tensor in graph.tensors if tensor.kind == "parameter")
                own = {name: 1 << place for place, name in enumerate(trained, start=count)}
                bearing = [*graph.reaching(bearing, own)]
            count += len(own)
            found.append(all(others | bearing[0] == bearing[0] for others in bearing))
        return tuple(found)

    def _check_further(self) -> None:
        """Raise ValueError unless every unit takes as many tensors as the one before it gives."""
        given = 0
        for unit in self.units:
            taken = len(unit.further_inputs)
            if taken != given:
                raise ValueError(
                    f"unit {unit.name[:60]!r}: takes {taken} further inputs, but what comes before it gives {given}"
                )
            given = len(unit.further_results)
        if given:
            raise ValueError(f"unit {self.units[-1].name[:60]!r}: is the last, and may give one tensor alone")

    @property
    def normalised_by(self) -> Normalisation:
        """How its input is normalised, said or not."""
        return self.normalisation or usual_normalisation(self.input_dtype)

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of the last unit's output, per sample."""
        return self.task.output_shape(self.classes, self.input)

    @property
    def label_form(self) -> LabelForm:
        """How the labels of its task lie in memory and on storage."""
        return self.task.label_form(self.classes, self.input)

    def label_bytes(self, *, cached: bool, elsewhere: bool = False) -> int:
        """A sample's label in a micro-batch, beside what it was read into; `elsewhere` is an accelerator's memory."""
        return self.task.label_bytes(self.classes, self.input, cached=cached, elsewhere=elsewhere)

    def _check_takes(self) -> None:
        """Raise ValueError unless the first layer alone takes tokens, where the model does."""
        taken = [(unit.name, getattr(layer, "takes", "float32")) for unit in self.units for layer in unit.layers]
        for index, (name, dtype) in enumerate(taken):
            given = "int64" if index == 0 and self.input_dtype == "int64" else "float32"
            if dtype != given:
                raise ValueError(
                    f"unit {name[:60]!r}: its layer takes {dtype}, but is given {given} (the model's input_dtype is "
                    f"{self.input_dtype}; the first layer of one that takes int64 is a graph that says so as well)"
                )
        if self.input_dtype not in self.task.input_dtypes:
            raise ValueError(
                f"task: {self.task.kind} takes {' or '.join(sorted(self.task.input_dtypes))}; "
                f"input_dtype is {self.input_dtype}"
            )
        if self.input_dtype == "int64" and self.normalisation is not None:
            raise ValueError("normalisation: tokens (input_dtype int64) are given as they are")
        if self.input_dtype != "uint8" and self.resize is not None:
            raise ValueError(f"resize is of images; input_dtype is {self.input_dtype}")
        check_shorter_side(self.shorter_side, self.resize, self.input)

    @property
    def sample_bytes(self) -> int:
        """One sample on storage, without its label."""
        return sample_bytes(self.input_dtype, self.input)

    @property
    def tensor_bytes(self) -> int:
        """One sample as the first unit is given it."""
        return tensor_bytes(self.input_dtype, self.input)

    @property
    def copied_bytes(self) -> int:
        """What one sample takes in the processor's memory beside the buffer that it was read into."""
        return copied_bytes(self.input_dtype, self.input)

    def graph_tensors(self) -> Iterator[tuple[str, GraphTensor]]:
        """The tensors of its unit graphs, by their names in a file of its weights: `units.0.0.conv1.weight`."""
        for index, unit in enumerate(self.units):
            for place, layer in enumerate(unit.layers):
                if isinstance(layer, UnitGraph):
                    yield from ((f"units.{index}.{place}.{tensor.name}", tensor) for tensor in layer.tensors)


@dataclass(frozen=True)
class ZooReference:
    """A network of the zoo, by name."""

    schema: Literal["model/1", "model/2"]
    zoo: str
    """Name in the zoo, for instance `vgg16`."""
    input: tuple[int, ...] = (3, 32, 32)
    """Extents of one sample, of an image channels, height and width; absent: what the network is made for."""
    classes: int = 10
    """Width of the last unit's output; absent: what the network is made for."""

    def __post_init__(self) -> None:
        _check_ends(self.input, self.classes, CLASSIFICATION)
