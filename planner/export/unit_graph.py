"""A unit graph as nodes of ONNX, in evaluation and for any number of samples. Needs `onnx`, and no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from planner.errors import InputError
from planner.export.aten.base import SAMPLES, Call, Form, Tensor
from planner.export.aten.kinds import WRITERS, writer_name
from planner.export.aten.memory import SAME, Cell, view
from planner.export.onnx_builder import Dim, OnnxBuilder, worth_folding
from planner.operators.aten.base import Value
from planner.operators.aten.kinds import ATEN
from planner.operators.base import Shape
from planner.operators.graph_text import Batch, Name, Node, TensorName
from planner.operators.unit_graph import UnitGraph, walk_graph
from planner.schema.model import Model


def check_writable(model: Model) -> None:
    """Raise InputError naming every operator that has no form in ONNX, with its unit."""
    missing: dict[str, str] = {}
    for unit in model.units:
        for layer in unit.layers:
            for node in layer.evaluation_nodes if isinstance(layer, UnitGraph) else ():
                if _writer_name(node) not in WRITERS:
                    missing.setdefault(node.operator, unit.name)
    if missing:
        shown = ", ".join(f"{operator} (unit {unit!r})" for operator, unit in missing.items())
        raise InputError(f"{model.name}: cannot be written as ONNX, which has no form of these operators: {shown}")


def _writer_name(node: Node) -> str:
    return writer_name(node.operator, overwrites=ATEN[node.operator].overwrites is not None)


def write_graph(
    o: OnnxBuilder, graph: UnitGraph, given: Sequence[str], shape: Shape, weights: Mapping[str, str], unit: str
) -> tuple[str, ...]:
    """Write a unit fed with `shape`; the names of what leaves it. `given` are the names of what comes in, `weights`
    those of its tensors in the file.

    Raises InputError naming the unit and the operator.
    """
    shapes = [shape, *(each.shape for each in graph.further_inputs)]
    types = [graph.takes, *("float32" for _ in graph.further_inputs)]
    tensors = [Tensor((Batch(1), *one), dtype, name) for one, dtype, name in zip(shapes, types, given, strict=True)]
    writer = _UnitWriter(o, graph, tensors, weights)
    walks = (walk_graph(graph, shape, count, training=False) for count in SAMPLES)
    for (node, arguments, results), (_, others, other_results) in zip(*walks, strict=True):
        try:
            forms = [_form(pair) for pair in zip(results, other_results, strict=True)]
            writer.write(node, _merged(arguments, others), tuple(forms))
        except ValueError as error:
            raise InputError(f"unit {unit!r}: {node.operator} cannot be written as ONNX here: {error}") from None
    return writer.outputs()


class _UnitWriter:
    """What the names of a unit stand for."""

    def __init__(self, o: OnnxBuilder, graph: UnitGraph, given: Sequence[Tensor], weights: Mapping[str, str]) -> None:
        self._o, self._graph = o, graph
        self._cells = {name: Cell(tensor) for name, tensor in zip(graph.inputs, given, strict=True)}
        self._tensors = {
            each.name: Cell(Tensor(each.shape, "int64" if each.kind == "counter" else "float32", weights[each.name]))
            for each in graph.tensors
        }

    def outputs(self) -> tuple[str, ...]:
        return tuple(self._cells[name].get().name for name in self._graph.results)

    def write(self, node: Node, bound: Mapping[str, Any], forms: tuple[Form, ...]) -> None:
        """A node, with its arguments' values and its results' forms."""
        operator, name = ATEN[node.operator], _writer_name(node)
        raw = _raw_arguments(node)
        call = Call({key: self._argument(raw.get(key), value) for key, value in bound.items()}, forms)
        self._o.folds = worth_folding(form.value.shape for form in forms)
        shared = raw.get(operator.overwrites or operator.alias or "")
        if isinstance(shared, Name | TensorName):
            cells = self._sharing(name, call, self._cell(shared), writes=operator.overwrites is not None)
        else:
            cells = [Cell(tensor) for tensor in self._written(name, call)]
            if isinstance(shared, list):  # one of several memories: written into, it could not be followed
                cells = [Cell(cell.tensor, cell, put=None) for cell in cells]
        self._cells.update(zip(node.results, cells, strict=True))

    def _sharing(self, name: str, call: Call, cell: Cell, *, writes: bool) -> list[Cell]:
        """The results of an operator that writes into its first argument, or gives it back, or a view of it."""
        if writes:
            (tensor,) = self._written(name, call)
            assert tensor is not None
            cell.set(tensor)
            return [cell]
        given, form = cell.get(), call.result
        if form.dtype != given.dtype or call.arguments.get("copy"):
            return [Cell(tensor) for tensor in self._written(name, call)]
        if name in SAME and (name != "contiguous" or cell.whole):
            self._written(name, call)  # may be refused
            return [cell]

        def read(place: int) -> Any:
            def follow(base: Tensor) -> Tensor:
                first = next(iter(call.arguments))
                found = self._written(name, Call({**call.arguments, first: base}, call.results))[place]
                assert found is not None
                return found

            return follow

        return [view(self._o, name, call, cell, place, read(place)) for place in range(len(call.results))]

    def _written(self, name: str, call: Call) -> list[Tensor | None]:
        found = WRITERS[name](self._o, call)
        names = [found] if isinstance(found, str) else found
        return [
            None if each is None else Tensor(form.dims, form.dtype, each)
            for each, form in zip(names, call.results, strict=True)
        ]

    def _cell(self, name: Name | TensorName) -> Cell:
        return self._cells[name.name] if isinstance(name, Name) else self._tensors[name.name]

    def _argument(self, raw: Any, bound: Any) -> Any:
        """A tensor by its name, anything else by its value."""
        if isinstance(raw, Name | TensorName):
            return self._cell(raw).get()
        if isinstance(raw, list) and isinstance(bound, list) and len(raw) == len(bound):
            return [self._argument(*pair) for pair in zip(raw, bound, strict=True)]
        return raw if isinstance(bound, Value) else bound  # a number that stands for a tensor


def _raw_arguments(node: Node) -> dict[str, Any]:
    """As the node has them, by name."""
    names = (argument.name for argument in ATEN[node.operator].arguments)
    return {**dict(zip(names, node.positional, strict=False)), **node.named}


def _form(values: tuple[Value, Value]) -> Form:
    one, other = values
    return Form(tuple(_extent(*pair) for pair in zip(one.shape, other.shape, strict=True)), one.dtype)


def _extent(one: int, other: int) -> Dim:
    """An extent, from what it is with either number of samples. Raises ValueError."""
    if one == other:
        return one
    times, rest = divmod(one, SAMPLES[0])
    if rest or times * SAMPLES[1] != other:
        raise ValueError(f"{one} with {SAMPLES[0]} samples is {other} with {SAMPLES[1]}; that is no multiple of both")
    return Batch(times)


def _merged(one: Any, other: Any) -> Any:
    """Arguments, from what they are with either number of samples."""
    match one:
        case dict():
            return {key: _merged(value, other[key]) for key, value in one.items()}
        case list() | tuple():
            return [_merged(*pair) for pair in zip(one, other, strict=True)]
        case int() if one != other:
            return _extent(one, other)
    return one
