"""An ONNX graph under construction: nodes, constants, weights. Needs the package `onnx`, an extra, and no torch.

What follows from constants alone is worked out at once, by ONNX's own reference, and nothing is written that the
result does not need. So whoever writes an operator may do it one general way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any, Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from planner.operators.base import Shape
from planner.operators.graph_text import Batch

OPSET: Final = 20
"""The first with an operator for gelu."""
IR_VERSION: Final = 9
"""The file format that came with it; a newer one would shut out older runtimes."""
BATCH: Final = "batch"
"""Name of the extent that is left open."""
IMAGES: Final = "images"
"""Name of what goes in."""
LOGITS: Final = "logits"
"""Name of what comes out."""

Dim = int | Batch
"""An extent: a number, or a multiple of the number of samples."""

_TYPES: Final = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int16": TensorProto.INT16,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}
_LARGEST_CONSTANT: Final = 2**22
"""Numbers of a constant that is worked out here; a larger one is left to who runs the file."""


@dataclass(frozen=True)
class _Weight:
    """A tensor of the model's file."""

    stored: str
    shape: Shape
    type: int


class OnnxBuilder:
    """Collects what a graph is made of. Values go by their names."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        """`reserved` are names that weights will have."""
        self._taken = {IMAGES, LOGITS, *reserved}
        self._number = count()
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._weights: dict[str, _Weight] = {}
        self._samples = ""
        self.folds = True
        """Whether constants are worked out: not where they would be large."""

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """A node of ONNX's operator `kind`; the name of its output."""
        return self._append(kind, inputs, [output or self._fresh(kind)], attributes)[0]

    def nodes(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs; their names."""
        return self._append(kind, inputs, [self._fresh(kind) for _ in range(outputs)], attributes)

    def weight(self, name: str, stored: str, shape: Shape, dtype: str = "float32") -> str:
        """A tensor of the model's file, there called `stored`."""
        self._weights[name] = _Weight(stored, shape, _TYPES[dtype])
        return name

    def constant(self, values: Any, dtype: str) -> str:
        """A constant of any shape."""
        name = self._fresh("constant")
        onnx_type(dtype)
        self._constants[name] = np.asarray(values, dtype=dtype)
        return name

    def number(self, value: float, dtype: str = "float32") -> str:
        """A constant without dimensions."""
        return self.constant(value, dtype)

    def cast(self, value: str, dtype: str) -> str:
        """The value in another type."""
        return self.node("Cast", [value], to=onnx_type(dtype))

    def vector(self, extents: Sequence[Dim]) -> str:
        """Whole numbers, multiples of the number of samples among them."""
        if not any(isinstance(extent, Batch) for extent in extents):
            return self.constant(list(extents), "int64")
        parts = [
            self.node("Mul", [self._batch(), self.constant([extent.times], "int64")])
            if isinstance(extent, Batch)
            else self.constant([extent], "int64")
            for extent in extents
        ]
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, axis=0)

    def _batch(self) -> str:
        if not self._samples:
            shape = self.node("Shape", [IMAGES], start=0, end=1)
            self._samples = shape
        return self._samples

    def reshape(self, value: str, dims: Sequence[Dim]) -> str:
        """The value with these extents."""
        extents = [-1 if isinstance(extent, Batch) else extent for extent in dims]
        return self.node("Reshape", [value, self.vector(dims if extents.count(-1) > 1 else extents)])

    def averages(self, value: str, shape: Shape, windows: Sequence[Sequence[tuple[int, int, int]]]) -> str:
        """Means over windows of the last axes, each as first, last exclusive and what the sum is divided by.

        `shape` is that of the value, with or without the samples.
        """
        spatial = len(windows)
        return self.mixed(
            value,
            [
                [[1 / divisor if first <= at < last else 0.0 for at in range(extent)] for first, last, divisor in axis]
                for extent, axis in zip(shape[-spatial:], windows, strict=True)
            ],
        )

    def mixed(self, value: str, matrices: Sequence[Sequence[Sequence[float]]]) -> str:
        """Products along the last axes of (samples, channels, …), each with a matrix of its own."""
        spatial = len(matrices)
        for place, matrix in enumerate(matrices, -spatial):
            if place == -2:
                value = self.node("MatMul", [self.constant(matrix, "float32"), value])
                continue
            across = self.constant(np.transpose(matrix), "float32")
            if place == -1:
                value = self.node("MatMul", [value, across])
                continue
            order = list(range(spatial + 2))
            order[place], order[-1] = order[-1], order[place]
            turned = self.node("MatMul", [self.node("Transpose", [value], perm=order), across])
            value = self.node("Transpose", [turned], perm=order)
        return value

    def maxima(self, value: str, spans: Sequence[Sequence[tuple[int, int]]]) -> str:
        """Maxima over windows of unequal length: the last element of a short one is taken more than once."""
        kernel = []
        for axis, windows in enumerate(spans, 2):
            longest = max(last - first for first, last in windows)
            taken = [min(first + step, last - 1) for first, last in windows for step in range(longest)]
            value = self.node("Gather", [value, self.constant(taken, "int64")], axis=axis)
            kernel.append(longest)
        return self.node("MaxPool", [value], kernel_shape=kernel, strides=kernel)

    def finish(
        self,
        name: str,
        shape: Shape,
        output: str,
        output_shape: Shape,
        read: Callable[[str], bytes],
        given: str = "float32",
    ) -> ModelProto:
        """The whole file: from images of `shape` to logits of `output_shape`, both without the samples; `given` is the
        type of the first.

        `read` gives the bytes of a tensor by its stored name.
        """
        self._append("Identity", [output], [LOGITS], {})
        needed, nodes = {LOGITS}, []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        initializers = [
            helper.make_tensor(key, weight.type, weight.shape, read(weight.stored), raw=True)
            for key, weight in self._weights.items()
            if key in needed
        ]
        initializers += [numpy_helper.from_array(v, key) for key, v in self._constants.items() if key in needed]
        graph = helper.make_graph(
            nodes[::-1],
            name,
            [helper.make_tensor_value_info(IMAGES, _TYPES[given], [BATCH, *shape])],
            [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [BATCH, *output_shape])],
            initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _fresh(self, kind: str) -> str:
        """A name that nothing has."""
        name = next(name for name in (f"{kind.lower()}_{number}" for number in self._number) if name not in self._taken)
        self._taken.add(name)
        return name

    def _append(self, kind: str, inputs: Sequence[str], outputs: list[str], attributes: dict[str, Any]) -> list[str]:
        node = helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes)
        given = {name: self._constants[name] for name in inputs if name in self._constants}
        if self.folds and given and all(name in given or not name for name in inputs) and LOGITS not in outputs:
            self._constants.update(zip(outputs, _evaluated(node, given), strict=True))
        else:
            self._nodes.append(node)
        return outputs


def onnx_type(dtype: str) -> int:
    """ONNX's number of a type. Raises ValueError for one that is not written."""
    if dtype not in _TYPES:
        raise ValueError(f"{dtype} is no type that is written")
    return _TYPES[dtype]


def worth_folding(shapes: Iterable[Shape]) -> bool:
    """Whether constants of these shapes are small enough to be worked out here."""
    return all(prod(shape) <= _LARGEST_CONSTANT for shape in shapes)


def _evaluated(node: NodeProto, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    """A node's outputs, from constants."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], node.name, inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, given)]
