"""Follows an ONNX graph from its input to its output, and writes what it does in operators of ATen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from planner.errors import ModelError
from planner.model.importers.onnx.document import OnnxFile, OnnxNode, OnnxTensor, OnnxValue
from planner.model.importers.onnx.emitter import Emitter
from planner.model.importers.onnx.folding import fold
from planner.model.importers.onnx.fusion import fused
from planner.model.importers.onnx.names import names_for
from planner.model.importers.onnx.operators.base import Call, as_known
from planner.model.importers.onnx.operators.kinds import IMPORTERS
from planner.model.importers.onnx.operators.selection import filling
from planner.model.importers.onnx.values import (
    MAX_KNOWN,
    Dim,
    Known,
    Stored,
    Tensor,
    Value,
    array_of,
    known,
)
from planner.model.importers.onnx.weights import OnnxSource
from planner.model.importers.steps import SIZES
from planner.operators.graph_text import Batch
from planner.tasks.kinds import CLASSIFICATION, AnyTask

_OPSETS: Final = (11, 23)
_SHOWN: Final = 20
_FREE: Final = ("Constant", "Shape", "Size")
"""Operators that are no family's: what they give is known at once."""


@dataclass(frozen=True)
class Followed:
    """A graph in operators of ATen."""

    emitter: Emitter
    """Its steps, and its tensors."""
    output: Tensor
    """What comes out."""
    dropped: str
    """The operator at its end that was left out, if there was one."""


def follow(source: OnnxSource, task: AnyTask = CLASSIFICATION) -> Followed:
    """What the file's graph does, without what the loss of `task` does itself.

    Raises ModelError naming the place, or all nodes that cannot be said.
    """
    document = source.document
    low, high = _OPSETS
    if not low <= document.opset <= high:
        raise ModelError(f"is written in opset {document.opset}; {low} to {high} are known here")
    given, output = _ends(document)
    stored, nodes = _with_own_tensors(source)
    nodes = _needed(nodes, stored, given, output)
    _check_operators(nodes)
    # Whom nobody reads any more is left out.
    nodes = _needed(fused(source, nodes, output), stored, given, output)
    return _Follower(source, stored, given, output, nodes, task).run()


def _with_own_tensors(source: OnnxSource) -> tuple[dict[str, Stored], list[OnnxNode]]:
    """The initializers by name, and the nodes. Who has a copy of one to itself reads that, by a name of its own."""
    document, names = source.document, source.names
    stored = {name: Stored(tensor, names.of[name], True) for name, tensor in document.initializers.items()}
    copies: dict[int, list[tuple[int, str]]] = {}
    for (index, place), own in names.at.items():
        stored[f"{own}\n"] = Stored(names.tensors[own], own, True)  # a name that no file can have beside it
        copies.setdefault(index, []).append((place, f"{own}\n"))
    nodes = []
    for node in document.nodes:
        inputs = list(node.inputs)
        for place, name in copies.get(node.index, ()):
            inputs[place] = name
        nodes.append(replace(node, inputs=tuple(inputs)) if node.index in copies else node)
    return stored, nodes


def _ends(document: OnnxFile) -> tuple[OnnxValue, str]:
    inputs = [value for value in document.inputs if value.name not in document.initializers]
    if len(inputs) != 1:
        raise ModelError(f"has {len(inputs)} inputs{_listed([each.name for each in inputs])}; one is needed")
    if len(document.outputs) != 1:
        names = [each.name for each in document.outputs]
        raise ModelError(f"has {len(names)} outputs{_listed(names)}; one is needed")
    return inputs[0], document.outputs[0].name


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(repr(name[:60]) for name in names[:6])})" if names else ""


def _needed(nodes: Sequence[OnnxNode], stored: Mapping[str, Stored], given: OnnxValue, output: str) -> list[OnnxNode]:
    """The nodes that the output depends on, in an order in which each comes behind what it reads.

    Raises ModelError for values that are given twice or by nobody, and for a graph that runs in circles.
    """
    makers: dict[str, OnnxNode] = {}
    for node in nodes:
        for name in node.outputs:
            if name and (name in makers or name in stored or name == given.name):
                raise ModelError(f"{node.place}: gives {name[:80]!r}, which is there already")
            makers[name] = node
    if output not in makers:
        raise ModelError(f"no node gives its output {output[:80]!r}")
    found: list[OnnxNode] = []
    done: dict[int, bool] = {}  # False: what it reads is being looked at
    waiting = [makers[output]]
    while waiting:
        node = waiting[-1]
        missing = []
        for name in node.inputs if node.index not in done else ():
            if not name or name == given.name or name in stored:
                continue
            if name not in makers:
                raise ModelError(f"{node.place}: reads {name[:80]!r}, which nobody gives")
            before = done.get(makers[name].index)
            if before is False or makers[name] is node:
                raise ModelError(f"{node.place}: depends on what it gives itself; a graph may not run in circles")
            if before is None:
                missing.append(makers[name])
        if missing:
            done[node.index] = False
            waiting += missing
            continue
        waiting.pop()
        if not done.get(node.index):
            done[node.index] = True
            found.append(node)
    in_order = sorted(found, key=lambda node: node.index)  # as the file has them, which is the order they are meant in
    place = {name: index for index, node in enumerate(in_order) for name in node.outputs}
    if all(place.get(name, -1) < index for index, node in enumerate(in_order) for name in node.inputs if name):
        return in_order
    return found


def _check_operators(nodes: Sequence[OnnxNode]) -> None:
    """Raise ModelError naming every node whose operator is not known."""
    strange = [
        f"{node.place}: {_not_known(node)}"
        for node in nodes
        if node.domain or (node.operator not in IMPORTERS and node.operator not in _FREE)
    ]
    _raise(strange)


def _not_known(node: OnnxNode) -> str:
    if node.domain:
        return f"is of domain {node.domain[:60]!r}; only ONNX's own operators are known here"
    return "is no operator that is known here"


def _raise(problems: Sequence[str]) -> None:
    """Raise ModelError with all of them, should there be any."""
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ModelError(f"cannot be taken: {'; '.join(problems[:_SHOWN])}{more}")


class _Follower:
    """What the names of a graph stand for."""

    def __init__(
        self,
        source: OnnxSource,
        stored: Mapping[str, Stored],
        given: OnnxValue,
        output: str,
        nodes: Sequence[OnnxNode],
        task: AnyTask,
    ) -> None:
        self._source, self._output, self._nodes = source, output, nodes
        dims, self._fixed_batch = _input_dims(given)
        if given.dtype not in ("float32", "int64"):
            raise ModelError(f"its input {given.name[:60]!r} is {given.dtype or 'untyped'}; float32 is needed")
        self._emitter = Emitter(source, dims, given.dtype)
        self._values: dict[str, Value] = {**stored, given.name: self._emitter.input}
        self._readers = Counter(name for node in nodes for name in node.inputs)
        self._readers[output] += 1
        self._opset = source.document.opset
        self._task, self._dropped = task, ""

    def run(self) -> Followed:
        problems: list[str] = []
        for node in self._nodes:
            try:
                results = self._results(node)
            except ValueError as error:
                problems.append(f"{node.place}: {error}")
                continue
            if results is None:  # it reads what another node could not give
                continue
            for name, value in zip(node.outputs, results, strict=False):
                if name and value is not None:
                    self._values[name] = value
        _raise(problems)
        output = self._values.get(self._output)
        if not isinstance(output, Tensor) or output.source not in self._emitter.steps[1:]:
            raise ModelError(f"its output {self._output[:60]!r} is not computed of its input")
        return Followed(self._emitter, output, self._dropped)

    def _results(self, node: OnnxNode) -> Sequence[Value | None] | None:
        """What a node gives; None: that cannot be known, since what it reads is not."""
        if node.operator == "Constant":
            return [_constant(self._source, node)]
        if any(name and name not in self._values for name in node.inputs):
            return None
        inputs = [self._values[name] if name else None for name in node.inputs]
        if node.operator in ("Shape", "Size") and inputs and isinstance(inputs[0], Tensor):
            return [_extents(node, inputs[0], self._fixed_batch)]
        folded = self._folded(node, inputs)
        if folded is not None:
            return folded
        emitter = self._emitter
        emitter.place, emitter.path = node.place, _path(node, inputs)
        readers = [self._readers[name] for name in node.inputs]
        call = Call(emitter, node, self._opset, inputs, readers, self._fixed_batch)
        if self._is_of_the_loss(node, inputs):
            self._dropped = node.operator
            return [call.tensor(0)]
        if node.operator not in IMPORTERS:
            raise ValueError("is of something that the network does not compute")
        try:
            found = IMPORTERS[node.operator](call)
        except (IndexError, KeyError, TypeError, AttributeError, OverflowError, ZeroDivisionError) as error:
            raise ValueError(
                f"its inputs or attributes do not fit ({type(error).__name__}: {str(error)[:80]})"
            ) from None
        return [found] if isinstance(found, Tensor | Known | Stored) else found

    def _folded(self, node: OnnxNode, inputs: Sequence[Value | None]) -> list[Known] | None:
        values = [None if value is None else as_known(self._emitter, value) for value in inputs]
        if any(value is None and given is not None for value, given in zip(values, inputs, strict=True)):
            return None
        if node.operator == "ConstantOfShape":
            return self._constant_of_shape(node, inputs)
        found = []
        for index in range(len(SIZES)):
            arrays = fold(node, self._opset, [None if value is None else value.arrays[index] for value in values])
            if arrays is None:
                return None
            found.append(arrays)
        if len(found[0]) != len(found[1]):
            return None
        return [Known(pair) for pair in zip(*found, strict=True)]

    def _constant_of_shape(self, node: OnnxNode, inputs: Sequence[Value | None]) -> list[Known] | None:
        call = Call(self._emitter, node, self._opset, inputs, [1] * len(inputs), None)
        number, dtype = filling(call)
        shapes = [[int(extent) for extent in array.ravel()] for array in call.known(0).arrays]
        if any(min(shape, default=0) < 0 or len(shape) > 8 or _product(shape) > MAX_KNOWN for shape in shapes):
            return None
        one, other = (np.full(shape, number, dtype) for shape in shapes)
        return [Known((one, other))]

    def _is_of_the_loss(self, node: OnnxNode, inputs: Sequence[Value | None]) -> bool:
        """Whether a node makes the output probabilities, of which the loss takes what they are made of."""
        if node.outputs[:1] != (self._output,) or not inputs or not isinstance(x := inputs[0], Tensor):
            return False
        if self._task.kind == "multilabel":
            return node.operator == "Sigmoid"
        is_row = {"classification": True, "segmentation": False}.get(self._task.kind)
        if node.operator != "Softmax" or is_row is not (x.rank == 2):
            return False
        axis = node.attributes.get("axis", -1 if self._opset >= 13 else 1)
        along = (1, 1 - x.rank) if self._opset >= 13 or x.rank == 2 else ()  # before, it went along all axes behind
        return axis in along


def _product(shape: Sequence[int]) -> int:
    found = 1
    for extent in shape:
        found *= extent
    return found


def _input_dims(given: OnnxValue) -> tuple[tuple[Dim, ...], int | None]:
    """The input's extents, the samples first; and their number, where the file insists on one."""
    name = repr(given.name[:60])
    if not given.dims:
        raise ModelError(f"its input {name} has no extents; (batch, …) is needed")
    first, *rest = given.dims
    open_ones = [str(extent) or "?" for extent in rest if not isinstance(extent, int) or extent < 1]
    if open_ones:
        shown = ", ".join(open_ones)[:80]
        raise ModelError(f"its input {name} leaves more open than the samples ({shown}); export it for one size")
    if isinstance(first, int) and first < 0:
        raise ModelError(f"its input {name} has {first} samples")
    dims: list[Dim] = [Batch(1), *(extent for extent in rest if isinstance(extent, int))]
    return tuple(dims), first if isinstance(first, int) and first else None


def _extents(node: OnnxNode, x: Tensor, fixed_batch: int | None) -> Known:
    """A tensor's extents. Where the file insists on a number of samples, with that: all else is written for it."""
    shapes = [list(x.form(samples if fixed_batch is None else fixed_batch).shape) for samples in SIZES]
    if node.operator == "Size":
        one, other = (np.asarray(_product(shape), np.int64) for shape in shapes)
        return Known((one, other))
    start, end = node.attributes.get("start", 0), node.attributes.get("end", x.rank)
    if not isinstance(start, int) or not isinstance(end, int):
        raise ValueError("start and end have to be whole numbers")
    one, other = (np.asarray(shape[start:end], np.int64) for shape in shapes)
    return Known((one, other))


def _constant(source: OnnxSource, node: OnnxNode) -> Value:
    attributes = node.attributes
    if len(attributes) != 1 or not node.outputs:
        raise ValueError("one value is needed")
    ((name, value),) = attributes.items()
    match name, value:
        case "value", OnnxTensor():
            return (
                known(array_of(source, value))
                if value.numbers <= 1
                else Stored(value, source.names.of[node.outputs[0]], False)
            )
        case "value_float", float():
            return known(value, "float32")
        case "value_int", int():
            return known(value, "int64")
        case "value_floats", list():
            return known(value, "float32")
        case "value_ints", list():
            return known(value, "int64")
    raise ValueError(f"its {name[:40]} is not known here")


def _path(node: OnnxNode, inputs: Sequence[Value | None]) -> str:
    """The module that it belongs to: as its name says (`layer1/layer1.0/fc1` is `layer1.0.fc1`), or its weights'."""
    found = ""
    for scope in filter(None, node.name.split("/")[:-1]):
        found = scope if not found or scope.startswith(f"{found}.") else f"{found}.{scope}"
    for value in inputs:
        if not found and isinstance(value, Stored) and value.is_initializer and value.tensor.numbers > 1:
            found = value.name.rpartition(".")[0]
    (plain,) = names_for([found or node.name or f"{node.operator}.{node.index}"])
    return plain
