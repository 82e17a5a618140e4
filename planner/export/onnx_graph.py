"""A model as an ONNX graph: layers as they say themselves (`Operator.to_onnx`), unit graphs operator by operator
(`planner.export.aten`). Needs the package `onnx`, an extra, and no torch.

Everything is said in operators of opset 20 with fixed windows: what ONNX has no operator for (pooling to an extent that
does not divide the input, the partial windows of an average) becomes a product with a fixed matrix, or a gathering of
rows and columns before an ordinary pooling. The number of samples stays open.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from onnx import ModelProto, helper

from planner.export.onnx_builder import IMAGES, LOGITS, OnnxBuilder
from planner.export.unit_graph import check_writable, write_graph
from planner.model.shapes import Shape, layer_output
from planner.operators.unit_graph import UnitGraph
from planner.runner.storage.exported import own_names
from planner.schema.model import Layer, Model
from planner.schema.preprocessing import given_words, resize_words


def make_graph(model: Model, read: Callable[[str], bytes]) -> ModelProto:
    """The network with weights; `read` gives the little-endian bytes of a tensor by its name in the file.

    Raises InputError naming what cannot be written, before anything is read.
    """
    check_writable(model)
    writer = _ModelWriter(model)
    given = "int64" if model.input_dtype == "int64" else "float32"
    found = writer.builder.finish(model.name, model.input, writer.output, (model.classes,), read, given)
    normalisation = model.normalised_by
    resizing = (model.resize, model.shorter_side)
    properties = {"input": given_words(model.input_dtype, model.input, normalisation, *resizing)[1]}
    if model.input_dtype == "uint8":
        words = f"{normalisation.words(model.input_dtype)} of every 8-bit value of an image"
        properties["input"] = words + resize_words(model.resize, model.input, model.shorter_side)
    if model.input_dtype != "int64":
        properties |= {"mean": json.dumps(normalisation.mean), "std": json.dumps(normalisation.std)}
    if model.resize is not None:
        properties["resize"] = model.resize
    if model.shorter_side is not None:
        properties["shorter_side"] = str(model.shorter_side)
    helper.set_model_props(found, properties)
    return found


class _ModelWriter:
    """Writes unit by unit."""

    def __init__(self, model: Model) -> None:
        self._names = _weight_names(model)
        self.builder = OnnxBuilder(self._names.values())
        self.output = IMAGES
        """Name of the logits."""
        self._further: list[str] = []
        """Names of what passes beside it between two units."""
        shape: Shape = model.input
        for index, unit in enumerate(model.units):
            self._unit = unit.name
            self.output, shape = self._chain(unit.layers, self.output, shape, f"units.{index}")

    def _chain(self, layers: tuple[Layer, ...], value: str, shape: Shape, prefix: str) -> tuple[str, Shape]:
        for index, layer in enumerate(layers):
            value = self._layer(layer, value, shape, f"{prefix}.{index}")
            shape = layer_output(layer, shape)
        return value, shape

    def _layer(self, layer: Layer, value: str, shape: Shape, name: str) -> str:
        weights = {
            weight.name: self._weight(f"{name}.{weight.name}", weight.shape, weight.kind == "counter")
            for weight in layer.weights(shape)
        }
        if isinstance(layer, UnitGraph):
            given = [value, *self._further]
            output, *self._further = write_graph(self.builder, layer, given, shape, weights, self._unit)
            return output
        inputs = [self._chain(chain, value, shape, f"{name}.{part}")[0] for part, chain in layer.chains().items()]
        used = [weights[weight.name] for weight in layer.weights(shape) if weight.kind != "counter"]
        return layer.to_onnx(self.builder, [*(inputs or [value]), *used], shape)

    def _weight(self, stored: str, shape: Shape, counter: bool) -> str:
        name = self._names.get(stored, stored)
        return self.builder.weight(name, stored, shape, "int64" if counter else "float32")


def _weight_names(model: Model) -> dict[str, str]:
    """What the tensors of unit graphs are called: as in the network that they come from, if that name is free."""
    found: dict[str, str] = {}
    taken = {IMAGES, LOGITS}
    for stored, name in own_names(model).items():
        found[stored] = stored if name in taken else name
        taken.add(found[stored])
    return found
