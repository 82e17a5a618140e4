"""`model/1` as an ONNX graph: a small function per layer. Needs the package `onnx`, an extra, and no torch.

Everything is said in operators of opset 20 with fixed windows: what ONNX has no operator for (pooling to an extent that
does not divide the input, the partial windows of an average) becomes a product with a fixed matrix, or a gathering of
rows and columns before an ordinary pooling. Dropouts are left out, as in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, helper

from planner.model.shapes import Shape, layer_output
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
        self._node("Identity", [value], "logits")
        return "logits"

    def _chain(self, layers: tuple[Layer, ...], value: str, shape: Shape, prefix: str) -> tuple[str, Shape]:
        for index, layer in enumerate(layers):
            value = self._layer(layer, value, shape, f"{prefix}.{index}")
            shape = layer_output(layer, shape)
        return value, shape

    def _layer(self, layer: Layer, value: str, shape: Shape, name: str) -> str:
        match layer:
            case Conv2d():
                return self._conv(layer, value, shape, name)
            case Linear():
                return self._linear(layer, value, shape, name)
            case BatchNorm2d():
                return self._batchnorm(layer, value, shape, name)
            case Activation():
                return self._activation(layer, value)
            case Pool2d():
                return self._pool(layer, value, shape)
            case AdaptivePool2d():
                return self._adaptive_pool(layer, value, shape)
            case Dropout():
                return value
            case Flatten():
                return self._node("Flatten", [value], axis=1)
            case Residual():
                body, _ = self._chain(layer.body, value, shape, f"{name}.body")
                shortcut, _ = self._chain(layer.shortcut, value, shape, f"{name}.shortcut")
                return self._node("Add", [body, shortcut])

    def _node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
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

    def _conv(self, layer: Conv2d, value: str, shape: Shape, name: str) -> str:
        kernel = (layer.out_channels, shape[0] // layer.groups, layer.kernel, layer.kernel)
        inputs = [value, self._weight(f"{name}.weight", kernel)]
        if layer.bias:
            inputs.append(self._weight(f"{name}.bias", (layer.out_channels,)))
        return self._node(
            "Conv",
            inputs,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[layer.padding] * 4,
            group=layer.groups,
        )

    def _linear(self, layer: Linear, value: str, shape: Shape, name: str) -> str:
        inputs = [value, self._weight(f"{name}.weight", (layer.out_features, shape[0]))]
        if layer.bias:
            inputs.append(self._weight(f"{name}.bias", (layer.out_features,)))
        return self._node("Gemm", inputs, transB=1)

    def _batchnorm(self, layer: BatchNorm2d, value: str, shape: Shape, name: str) -> str:
        parts = ("weight", "bias", "running_mean", "running_var")
        weights = [self._weight(f"{name}.{part}", (shape[0],)) for part in parts]
        # ONNX weighs the old statistics where model/1 weighs the new ones.
        return self._node("BatchNormalization", [value, *weights], epsilon=layer.eps, momentum=1 - layer.momentum)

    def _activation(self, layer: Activation, value: str) -> str:
        match layer.op:
            case "relu":
                return self._node("Relu", [value])
            case "relu6":
                return self._node("Clip", [value, self._constant("float", (), [0]), self._constant("float", (), [6])])
            case "gelu":
                return self._node("Gelu", [value])
            case "silu":
                return self._node("Mul", [value, self._node("Sigmoid", [value])])

    def _pool(self, layer: Pool2d, value: str, shape: Shape) -> str:
        after = layer_output(layer, shape)
        # What rounding up adds behind the padding, so that the windows fit exactly and nobody has to round.
        extra = [
            max(0, (out - 1) * layer.stride + layer.kernel - extent - 2 * layer.padding)
            for extent, out in zip(shape[1:], after[1:], strict=True)
        ]
        if layer.op == "avg_pool2d" and any(extra):
            windows = [_windows(layer, extent, out) for extent, out in zip(shape[1:], after[1:], strict=True)]
            return self._averages(value, shape, windows)
        attributes: dict[str, Any] = {
            "kernel_shape": [layer.kernel] * 2,
            "strides": [layer.stride] * 2,
            "pads": [layer.padding, layer.padding, layer.padding + extra[0], layer.padding + extra[1]],
        }
        if layer.op == "max_pool2d":
            return self._node("MaxPool", [value], **attributes)
        return self._node("AveragePool", [value], count_include_pad=1, **attributes)

    def _adaptive_pool(self, layer: AdaptivePool2d, value: str, shape: Shape) -> str:
        wanted = (layer.height, layer.width)
        is_average = layer.op == "adaptive_avg_pool2d"
        if wanted == (1, 1):
            return self._node("GlobalAveragePool" if is_average else "GlobalMaxPool", [value])
        if all(extent % out == 0 for extent, out in zip(shape[1:], wanted, strict=True)):
            kernel = [extent // out for extent, out in zip(shape[1:], wanted, strict=True)]
            return self._node("AveragePool" if is_average else "MaxPool", [value], kernel_shape=kernel, strides=kernel)
        spans = [_adaptive_spans(extent, out) for extent, out in zip(shape[1:], wanted, strict=True)]
        if is_average:
            windows = [[(first, last, last - first) for first, last in axis] for axis in spans]
            return self._averages(value, shape, windows)
        return self._maxima(value, spans)

    def _averages(self, value: str, shape: Shape, windows: Sequence[Sequence[tuple[int, int, int]]]) -> str:
        """Means over windows of rows and columns, each as first, last_exclusive and what the sum is divided by."""
        rows, columns = (
            [[1 / divisor if first <= at < last else 0.0 for at in range(extent)] for first, last, divisor in axis]
            for axis, extent in zip(windows, shape[1:], strict=True)
        )
        left = self._constant("float", (len(rows), shape[1]), [number for row in rows for number in row])
        across = [number for row in zip(*columns, strict=True) for number in row]
        right = self._constant("float", (shape[2], len(columns)), across)
        return self._node("MatMul", [self._node("MatMul", [left, value]), right])

    def _maxima(self, value: str, spans: Sequence[Sequence[tuple[int, int]]]) -> str:
        """Maxima over windows of unequal length: the last row or column of a short one is taken more than once."""
        kernel = []
        for axis, windows in zip((_ROWS, _COLUMNS), spans, strict=True):
            longest = max(last - first for first, last in windows)
            taken = [min(first + step, last - 1) for first, last in windows for step in range(longest)]
            value = self._node("Gather", [value, self._constant("int64", (len(taken),), taken)], axis=axis)
            kernel.append(longest)
        return self._node("MaxPool", [value], kernel_shape=kernel, strides=kernel)


def _windows(layer: Pool2d, extent: int, out: int) -> list[tuple[int, int, int]]:
    """PyTorch's windows of an average along one axis: the padding counts, what lies behind it does not."""
    found = []
    for index in range(out):
        start = index * layer.stride - layer.padding
        end = min(start + layer.kernel, extent + layer.padding)
        found.append((max(start, 0), min(end, extent), end - start))
    return found


def _adaptive_spans(extent: int, out: int) -> list[tuple[int, int]]:
    """PyTorch's windows of adaptive pooling along one axis."""
    return [(index * extent // out, -(-(index + 1) * extent // out)) for index in range(out)]
