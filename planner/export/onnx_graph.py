"""`model/1` as an ONNX graph, each operator written as it says itself (`Operator.to_onnx`). Needs the package `onnx`,
an extra, and no torch.

Everything is said in operators of opset 20 with fixed windows: what ONNX has no operator for (pooling to an extent that
does not divide the input, the partial windows of an average) becomes a product with a fixed matrix, or a gathering of
rows and columns before an ordinary pooling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, helper

from planner.model.shapes import Shape, layer_output
from planner.schema.model import Layer, Model

OPSET = 20
"""The first with an operator for gelu."""
IR_VERSION = 9
"""The file format that came with it; a newer one would shut out older runtimes."""
BATCH = "batch"
"""Name of the extent that is left open."""

_ROWS, _COLUMNS = 2, 3


def make_graph(model: Model, read: Callable[[str], bytes]) -> ModelProto:
    """The network with weights; `read` gives the little-endian float32 bytes of a tensor by its name in the file."""
    writer = _Writer(read)
    output = writer.chain_of(model)
    graph = helper.make_graph(
        writer.nodes,
        model.name,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [BATCH, *model.input])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [BATCH, model.classes])],
        writer.initializers,
    )
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(found, {"input": "(value / 255 - 0.5) / 0.25 of every 8-bit value of an image"})
    return found


class _Writer:
    """Collects nodes and weights."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self._numbers = count()
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []

    def chain_of(self, model: Model) -> str:
        """All units; the name of the logits."""
        value = "images"
        shape: Shape = model.input
        for index, unit in enumerate(model.units):
            value, shape = self._chain(unit.layers, value, shape, f"units.{index}")
        self.node("Identity", [value], "logits")
        return "logits"

    def _chain(self, layers: tuple[Layer, ...], value: str, shape: Shape, prefix: str) -> tuple[str, Shape]:
        for index, layer in enumerate(layers):
            value = self._layer(layer, value, shape, f"{prefix}.{index}")
            shape = layer_output(layer, shape)
        return value, shape

    def _layer(self, layer: Layer, value: str, shape: Shape, name: str) -> str:
        inputs = [self._chain(chain, value, shape, f"{name}.{part}")[0] for part, chain in layer.chains().items()]
        weights = [weight for weight in layer.weights(shape) if weight.kind != "counter"]
        inputs = (inputs or [value]) + [self._weight(f"{name}.{weight.name}", weight.shape) for weight in weights]
        return layer.to_onnx(self, inputs, shape)

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """A node; the name of its output."""
        output = output or f"{kind.lower()}_{next(self._numbers)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _weight(self, name: str, shape: Shape) -> str:
        self.initializers.append(helper.make_tensor(name, TensorProto.FLOAT, shape, self._read(name), raw=True))
        return name

    def _constant(self, kind: str, shape: Shape, values: Sequence[float]) -> str:
        name = f"constant_{next(self._numbers)}"
        types = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64}
        self.initializers.append(helper.make_tensor(name, types[kind], shape, values))
        return name

    def number(self, value: float) -> str:
        """A constant."""
        return self._constant("float", (), [value])

    def averages(self, value: str, shape: Shape, windows: Sequence[Sequence[tuple[int, int, int]]]) -> str:
        """Means over windows of rows and columns, each as first, last_exclusive and what the sum is divided by."""
        rows, columns = (
            [[1 / divisor if first <= at < last else 0.0 for at in range(extent)] for first, last, divisor in axis]
            for axis, extent in zip(windows, shape[1:], strict=True)
        )
        left = self._constant("float", (len(rows), shape[1]), [number for row in rows for number in row])
        across = [number for row in zip(*columns, strict=True) for number in row]
        right = self._constant("float", (shape[2], len(columns)), across)
        return self.node("MatMul", [self.node("MatMul", [left, value]), right])

    def maxima(self, value: str, spans: Sequence[Sequence[tuple[int, int]]]) -> str:
        """Maxima over windows of unequal length: the last row or column of a short one is taken more than once."""
        kernel = []
        for axis, windows in zip((_ROWS, _COLUMNS), spans, strict=True):
            longest = max(last - first for first, last in windows)
            taken = [min(first + step, last - 1) for first, last in windows for step in range(longest)]
            value = self.node("Gather", [value, self._constant("int64", (len(taken),), taken)], axis=axis)
            kernel.append(longest)
        return self.node("MaxPool", [value], kernel_shape=kernel, strides=kernel)
