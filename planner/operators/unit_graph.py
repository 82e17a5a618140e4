"""A unit that is a small graph of ATen operators: how it is checked and sized. No torch here.

`planner.operators.graph_text` says how its lines are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal

from planner import limits
from planner.operators.aten.base import Bound, Value
from planner.operators.aten.kinds import ATEN
from planner.operators.base import FaultsWithin, Operator, Shape, Weight, between
from planner.operators.decay import kernels_of
from planner.operators.graph_text import INPUT, WORDS, Batch, Name, Node, TensorName, Training, read_node


@dataclass(frozen=True)
class GraphTensor:
    """A tensor that belongs to a unit graph."""

    name: str
    """As the network that it comes from calls it: `layer1.0.conv1.weight`."""
    shape: tuple[int, ...]
    """Its extents."""
    kind: Literal["parameter", "buffer", "counter"] = "parameter"
    """A parameter is trained; a buffer is not, and a counter is one of whole numbers (64 bits)."""
    start: Literal["normal", "uniform", "constant", "values", "given"] = "normal"
    """What a training without weights to begin with fills it with; `given`: there is no such thing, weights have to be
    brought."""
    scale: float = 0.0
    """Of `normal` the standard deviation, of `uniform` the bound, of `constant` the value."""
    values: tuple[float, ...] = ()
    """Of `values` the numbers, row by row."""
    persistent: bool = True
    """Whether it belongs to the network's state; a constant of its forward does not."""

    def __post_init__(self) -> None:
        between("name: its length", len(self.name), 1, limits.MAX_NAME_LENGTH)
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", self.name):
            raise ValueError(f"name is {self.name[:60]!r}; words with dots between them are needed")
        between("shape: its length", len(self.shape), 0, limits.MAX_RANK)
        for extent in self.shape:
            between("shape: an extent", extent, 1, limits.MAX_PARAMETERS)
        between(f"{self.name}: its numbers", prod(self.shape), 1, limits.MAX_PARAMETERS)
        wanted = prod(self.shape) if self.start == "values" else 0
        if len(self.values) != wanted:
            raise ValueError(f"{self.name}: values: there are {len(self.values)} of them, not {wanted}")

    @property
    def first_content(self) -> tuple[str, float | tuple[float, ...]] | None:
        """See `Weight`."""
        match self.start:
            case "given":
                return None
            case "values":
                return "values", self.values
        return self.start, self.scale


@dataclass(frozen=True)
class GraphInput:
    """A tensor that a unit is given beside `x`: what a skip carries along."""

    name: str
    """What the unit's nodes call it."""
    shape: tuple[int, ...]
    """Its extents, without the samples; it is of float32."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", self.name) or self.name in {INPUT, *WORDS}:
            raise ValueError(f"name is {self.name[:60]!r}; a word that is not taken is needed")
        between("name: its length", len(self.name), 1, limits.MAX_NAME_LENGTH)
        between("shape: its length", len(self.shape), 1, limits.MAX_RANK - 1)
        for extent in self.shape:
            between("shape: an extent", extent, 1, limits.MAX_ACTIVATION_NUMEL)
        between(f"{self.name}: its numbers", prod(self.shape), 1, limits.MAX_ACTIVATION_NUMEL)


@dataclass(frozen=True)
class UnitGraph(Operator):
    """A small graph of ATen operators: one tensor in and one out, and beside these what skips carry along."""

    op: Literal["graph"]
    nodes: tuple[str, ...]
    """What is computed, a line each (see this module's description)."""
    result: str
    """Which of the results leaves the unit."""
    tensors: tuple[GraphTensor, ...] = ()
    """Parameters, buffers and constants, each of them read by a node."""
    evaluation: tuple[str, ...] = ()
    """The nodes in evaluation where they are others than `training` makes of `nodes`; none: they are not."""
    # As `planner.schema.codec.added`, which lies above: a graph that takes float32 keeps the id that it had without.
    takes: Literal["float32", "int64"] = field(default="float32", metadata={"added": True})
    """Type of the numbers that come in; tokens, which are int64, come to the first unit alone."""
    further_inputs: tuple[GraphInput, ...] = field(default=(), metadata={"added": True})
    """Tensors that come in beside `x`, in the order in which the unit before gives them."""
    further_results: tuple[str, ...] = field(default=(), metadata={"added": True})
    """Results, or inputs, that leave the unit beside `result`. The next unit takes them as its further inputs."""

    in_torch = (("graph", "GraphModule"),)
    overwritable = True

    def __post_init__(self) -> None:
        between("nodes: their number", len(self.nodes), 1, limits.MAX_GRAPH_NODES)
        between("evaluation: the number of its nodes", len(self.evaluation), 0, limits.MAX_GRAPH_NODES)
        between("tensors: their number", len(self.tensors), 0, limits.MAX_GRAPH_NODES)
        between("further_inputs: their number", len(self.further_inputs), 0, limits.MAX_BOUNDARY_TENSORS - 1)
        between("further_results: their number", len(self.further_results), 0, limits.MAX_BOUNDARY_TENSORS - 1)
        if len({given.name for given in self.further_inputs}) != len(self.further_inputs):
            raise ValueError("further_inputs: two of them share a name")
        if len(set(self.results)) != len(self.results):
            raise ValueError("further_results: two of them are one tensor, or `result`")
        names = [tensor.name for tensor in self.tensors]
        if len(set(names)) != len(names):
            raise ValueError("tensors: two of them share a name")
        self._check_lines()
        read = {
            value.name
            for node in (*self.training_nodes, *self.evaluation_nodes)
            for value in node.values()
            if isinstance(value, TensorName)
        }
        if unread := sorted(set(names) - read):
            raise ValueError(f"tensors: no node reads {unread[0]!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the nodes call the tensors that come in, `x` first."""
        return (INPUT, *(given.name for given in self.further_inputs))

    @property
    def results(self) -> tuple[str, ...]:
        """What the tensors are called that leave, `result` first."""
        return (self.result, *self.further_results)

    @cached_property
    def training_nodes(self) -> tuple[Node, ...]:
        """In training mode."""
        return _read_nodes("nodes", self.nodes)

    @cached_property
    def evaluation_nodes(self) -> tuple[Node, ...]:
        """In evaluation mode."""
        nodes = _read_nodes("evaluation", self.evaluation) if self.evaluation else self.training_nodes
        return tuple(node for node in nodes if not node.training_only)

    def _check_lines(self) -> None:
        """Raise FaultsWithin unless every line can be read, and every name is given once, and before it is read."""
        faults: list[tuple[str, str]] = []
        fields: tuple[Literal["nodes", "evaluation"], ...] = ("nodes", "evaluation")
        for name in fields[: 1 + bool(self.evaluation)]:
            try:
                nodes = self.training_nodes if name == "nodes" else self.evaluation_nodes
            except FaultsWithin as error:
                faults += error.faults
            else:
                faults += self._name_faults(name, nodes)
        if not faults and not self.evaluation:  # what is left out in evaluation may be read there
            faults += self._name_faults("nodes", self.evaluation_nodes)
        if faults:
            raise FaultsWithin(*faults)

    def _name_faults(self, field: str, nodes: tuple[Node, ...]) -> Iterator[tuple[str, str]]:
        known = set(self.inputs)
        tensors = {tensor.name for tensor in self.tensors}
        trained = {tensor.name for tensor in self.tensors if tensor.kind == "parameter"}
        for node in nodes:
            place = f"{field}[{node.line}]"
            given = dict(zip((each.name for each in ATEN[node.operator].arguments), node.positional, strict=False))
            for name, value in {**given, **node.named}.items():
                if name.startswith("running_") and isinstance(value, TensorName) and value.name in trained:
                    yield place, f"{name} is {value.name[:60]!r}, a parameter; a buffer is needed"
            for value in node.values():
                if isinstance(value, Name) and value.name not in known:
                    yield place, f"{value.name[:40]!r} is read before it is computed"
                    known.add(value.name)  # told once
                if isinstance(value, TensorName) and value.name not in tensors:
                    yield place, f"the unit has no tensor {value.name[:60]!r}"
            for name in node.results:
                if name in known or name in WORDS:
                    yield place, f"{name[:40]!r} is taken; each result needs a name of its own"
                if name != "_":
                    known.add(name)
        if self.result not in known:
            yield "result", f"{self.result[:40]!r} is computed by no node"
        for index, name in enumerate(self.further_results):
            if name not in known:
                yield f"further_results[{index}]", f"{name[:40]!r} is computed by no node"

    def reaching(self, given: Sequence[int], own: Mapping[str, int]) -> tuple[int, ...]:
        """By result, what bears on it, as bits: `given` has those of the inputs, `own` those of tensors."""
        found = dict(zip(self.inputs, given, strict=True))
        for node in self.training_nodes:
            bits = 0
            for value in node.values():
                if isinstance(value, Name):
                    bits |= found[value.name]
                elif isinstance(value, TensorName):
                    bits |= own.get(value.name, 0)
            found.update(dict.fromkeys(node.results, bits))
            operator = ATEN[node.operator]
            names = (argument.name for argument in operator.arguments)
            target = {**dict(zip(names, node.positional, strict=False)), **node.named}.get(operator.overwrites or "")
            if isinstance(target, Name):  # which may be read again under its own name
                found[target.name] |= bits
        return tuple(found[name] for name in self.results)

    @property
    def extracts_features(self) -> bool:  # type: ignore[override]  # a constant of other operators
        return any(ATEN[node.operator].extracts_features for node in self.training_nodes)

    @property
    def depends_on_batch(self) -> bool:  # type: ignore[override]  # a constant of other operators
        return any(ATEN[node.operator].depends_on_batch for node in self.training_nodes)

    @cached_property
    def _outputs(self) -> dict[Shape, tuple[Shape, ...]]:
        """What has been worked out: a chain is asked for its shapes again and again."""
        return {}

    def outputs(self, shape: Shape) -> tuple[Shape, ...]:
        """The shapes of what leaves a unit that is fed with `shape`, in the order of `results`. Raises ValueError."""
        if shape not in self._outputs:
            self._outputs[shape] = _output_shapes(self, shape)
        return self._outputs[shape]

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        return self.outputs(shape)[0]

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        ordered = sorted(self.tensors, key=lambda each: each.kind != "parameter")  # as a module's state has them
        decaying = self._decaying
        return tuple(
            Weight(each.name, each.shape, each.first_content, each.kind, decays=each.name in decaying)
            for each in ordered
        )

    @cached_property
    def _decaying(self) -> frozenset[str]:
        return kernels_of(self.training_nodes) & {
            each.name for each in self.tensors if each.kind == "parameter" and len(each.shape) > 1
        }

    def minimum_micro_batch(self, shape: Shape) -> int:
        """More than one value per channel for every normalisation over the samples."""
        if not self.depends_on_batch:
            return 1
        for node, arguments, _ in walk_graph(self, shape, 1, training=True):
            depends = ATEN[node.operator].depends_on_batch and arguments.get("training", True)
            given = arguments.get("input")
            if depends and isinstance(given, Value) and prod(given.shape) <= given.shape[1]:
                return 2
        return 1

    def multiply_adds(self, shape: Shape) -> int:
        """Of one sample's forward in evaluation, what does not depend on the samples included."""
        two, three = (
            sum(ATEN[node.operator].multiply_adds(given, found) for node, given, found in walk)
            for walk in (walk_graph(self, shape, count, training=False) for count in (2, 3))
        )
        return 2 * two - three

    def arguments(self, shape: Shape) -> Mapping[str, Any]:
        return {"graph": self}


def _read_nodes(field: str, lines: tuple[str, ...]) -> tuple[Node, ...]:
    """Raises FaultsWithin for all lines that cannot be read."""
    found: list[Node] = []
    faults: list[tuple[str, str]] = []
    for index, line in enumerate(lines):
        try:
            found.append(read_node(line, index))
        except ValueError as error:
            faults.append((f"{field}[{index}]", f"{error} (in {line[:60]!r})"))
    if faults:
        raise FaultsWithin(*faults)
    return tuple(found)


def _output_shapes(graph: UnitGraph, shape: Shape) -> tuple[Shape, ...]:
    """Shapes of one sample behind a unit graph fed with `shape`, in training and in evaluation alike.

    Raises ValueError where a node does not fit, where the samples get lost, or where both differ.
    """
    found: list[tuple[Shape, ...]] = []
    for training, count in ((True, 2), (True, 3), (False, 2)):
        values = _given_values(graph, shape, count)
        for node, _, results in walk_graph(graph, shape, count, training=training):
            values.update(zip(node.results, results, strict=True))
        for name in graph.results:
            output = values[name]
            if not output.shape or output.shape[0] != count:
                raise ValueError(
                    f"result {name}: {count} samples give {output.shape}; the first extent has to be theirs"
                )
            if output.dtype != "float32":
                raise ValueError(f"result {name}: is {output.dtype}; float32 is needed")
        found.append(tuple(values[name].shape[1:] for name in graph.results))
    for name, shapes in zip(graph.results, zip(*found, strict=True), strict=True):
        if len(set(shapes)) != 1:
            raise ValueError(f"result {name}: its shape depends on the number of samples, or on training")
    from planner.operators.lookups import check_lookups  # which is made of this module's

    check_lookups(graph, shape)
    return found[0]


def _given_values(graph: UnitGraph, shape: Shape, count: int) -> dict[str, Value]:
    """What comes in for so many samples, `x` of `shape`."""
    further = {given.name: Value((count, *given.shape), "float32") for given in graph.further_inputs}
    return {INPUT: Value((count, *shape), graph.takes), **further}


def walk_graph(
    graph: UnitGraph, shape: Shape, count: int, *, training: bool
) -> Iterator[tuple[Node, dict[str, Bound], tuple[Value, ...]]]:
    """Each node with its arguments and results for so many samples of `shape`. Raises ValueError naming the node."""
    values = _given_values(graph, shape, count)
    tensors = {each.name: Value(each.shape, "int64" if each.kind == "counter" else "float32") for each in graph.tensors}

    def bound(value: Any) -> Any:
        match value:
            case Name(name):
                return values[name]
            case TensorName(name):
                return tensors[name]
            case Training():
                return training
            case Batch(times):
                return times * count
            case list():
                return [bound(item) for item in value]
        return value

    for node in graph.training_nodes if training else graph.evaluation_nodes:
        try:
            operator = ATEN[node.operator]
            arguments = operator.bind(
                [bound(value) for value in node.positional], {name: bound(value) for name, value in node.named.items()}
            )
            given = operator.rule(**arguments)
            results = given if isinstance(given, tuple) else (given,)
            _check_results(node, results, count)
        except ValueError as error:
            raise ValueError(f"node {node.line} ({', '.join(node.results)} = {node.operator}): {error}") from None
        values.update(zip(node.results, results, strict=True))
        yield node, arguments, results


def _check_results(node: Node, results: tuple[Value, ...], count: int) -> None:
    if len(results) != len(node.results):
        raise ValueError(f"gives {len(results)} results, not {len(node.results)}")
    for value in results:
        if min(value.shape, default=1) < 1:
            raise ValueError(f"nothing is left of its input ({value.shape})")
        if len(value.shape) > limits.MAX_RANK or prod(value.shape) > count * limits.MAX_ACTIVATION_NUMEL:
            raise ValueError(f"a result of {value.shape} is beyond the limits")
