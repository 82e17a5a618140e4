"""Runs a unit graph: each node calls the operator of `torch.ops.aten` that it names. Needs torch, and torch alone.

No `torch.fx` and no `torch.export`: both are paid for in the user's budget (`planner.model.importers.exported` uses
them, in another process). A value is let go behind its last use, so a unit holds what its module would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from planner.model.activations import Activations, first_of, owned
from planner.operators.aten.kinds import ATEN
from planner.operators.graph_text import Batch, Name, Node, TensorName, Training
from planner.operators.unit_graph import GraphTensor, UnitGraph

_STATISTICS = ("running_mean", "running_var")

_NARROW = ("conv", "linear", "matmul", "bmm", "mm", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention")
"""Beginnings of operators that compute in bfloat16 where a unit does; others take what comes."""


_RUN_AS = {"view": "reshape", "_unsafe_view": "reshape", "view_as": "reshape_as"}
"""Operators that would refuse what lies in memory in another order, which planning knows nothing of: they copy that."""


class GraphModule(nn.Module):
    """The module of a unit graph. Its state has the names of the graph's tensors: `layer1.0.conv1.weight`."""

    def __init__(self, graph: UnitGraph, dtype: torch.dtype | None = None) -> None:
        """Storage of all tensors is allocated and not touched, but for what starts with zeros.

        With `dtype` convolutions and products of matrices are computed in that, from weights in float32.
        """
        super().__init__()
        self.dtype = dtype
        """None: as what comes in."""
        self.track_running_stats = True
        """Whether training moves running statistics and counters. Recomputation turns it off."""
        self.depends_on_batch = graph.depends_on_batch
        """Whether a sample's output depends on the others in training."""
        for tensor in graph.tensors:
            self._register(tensor)
        self._inputs, self._results = graph.inputs, graph.results
        self._training_steps = _compile(graph.training_nodes, graph)
        self._evaluation_steps = _compile(graph.evaluation_nodes, graph)

    def forward(self, x: Activations) -> Activations:
        """The unit's output for (micro-batch, …); tuples where it takes or gives more than one tensor."""
        steps = self._training_steps if self.training else self._evaluation_steps
        given = owned(x) if isinstance(x, tuple) else (x,)
        values: dict[str, Any] = dict(zip(self._inputs, given, strict=True))
        frame = _Frame(self, values, first_of(x))
        del x, given
        for step in steps:
            if step.counts and not self.track_running_stats:
                continue
            step.run(frame)
        if len(self._results) == 1:
            return values[self._results[0]]  # type: ignore[no-any-return]  # a tensor, as its shape was worked out
        return tuple(values[name] for name in self._results)

    def _register(self, tensor: GraphTensor) -> None:
        # Put straight where `register_parameter` would: that refuses names with dots.
        storage = torch.empty(tensor.shape, dtype=torch.int64 if tensor.kind == "counter" else torch.float32)
        if tensor.kind == "parameter":
            self._parameters[tensor.name] = nn.Parameter(storage)
        else:  # what is no part of the network's state is so here: a run has to keep it
            self._buffers[tensor.name] = storage.zero_()


class _Frame:
    """What the values of one call are read from."""

    __slots__ = ("batch", "device", "module", "values")

    def __init__(self, module: GraphModule, values: dict[str, Any], x: Tensor) -> None:
        self.module, self.values, self.batch, self.device = module, values, len(x), x.device


Read = Callable[[_Frame], Any]


class _Step:
    """A node, ready to run."""

    __slots__ = ("_call", "_forget", "_named", "_narrow", "_positional", "_results", "counts")

    def __init__(self, node: Node, forget: tuple[str, ...]) -> None:
        packet, _, overload = _RUN_AS.get(node.operator, node.operator).partition(".")
        self._call: Callable[..., Any] = getattr(getattr(torch.ops.aten, packet), overload or "default")
        arguments = dict(zip((each.name for each in ATEN[node.operator].arguments), node.positional, strict=False))
        kinds = {each.name: each.kind for each in ATEN[node.operator].arguments}
        arguments.update(node.named)
        count = len(node.positional)
        if node.operator in _RUN_AS:  # whose arguments are called otherwise
            arguments = {name: arguments[name] for name in kinds}
            count = len(arguments)
        read = [(name, _reader(name, value, kinds[name])) for name, value in arguments.items()]
        self._positional = tuple(reader for _, reader in read[:count])
        self._named = tuple(read[count:])
        self._results = node.results
        self._forget = forget
        self._narrow = node.operator.startswith(_NARROW)
        self.counts = node.training_only

    def run(self, frame: _Frame) -> None:
        """Compute the results, and let go what nobody reads any more."""
        values = frame.values
        positional = [reader(frame) for reader in self._positional]
        named = {name: reader(frame) for name, reader in self._named}
        if self._narrow and frame.module.dtype is not None:
            positional, named = _as_type(positional, frame.module.dtype), _as_type(named, frame.module.dtype)
        found = self._call(*positional, **named)
        del positional, named
        if len(self._results) == 1 and not isinstance(found, list | tuple):
            values[self._results[0]] = found
        else:
            values.update(zip(self._results, found, strict=True))
        for name in self._forget:
            del values[name]


def _reader(argument: str, value: Any, kind: str) -> Read:
    """How an argument is read in a call."""
    match value:
        case Name(name):
            return lambda frame: frame.values[name]
        case TensorName(name):
            if argument in _STATISTICS:
                return lambda frame: _tensor(frame, name) if frame.module.track_running_stats else None
            return lambda frame: _tensor(frame, name)
        case Training():
            return lambda frame: frame.module.training
        case Batch(times):
            return lambda frame: times * frame.batch
        case list():
            readers = [_reader(argument, item, kind) for item in value]
            if any(isinstance(item, Name | TensorName | Training | Batch | list) for item in value):
                return lambda frame: [reader(frame) for reader in readers]
            return lambda frame: value
    listed = re.match(r"(?:int|float|SymInt)\[(\d+)\]", kind)
    if listed is not None and isinstance(value, int | float):
        return lambda frame: [value] * int(listed[1])
    if kind.startswith("ScalarType") and value is not None:
        dtype = getattr(torch, value)
        return lambda frame: dtype
    if kind == "Device":  # graphs name none; this one has to be given
        return lambda frame: frame.device
    return lambda frame: value


def _tensor(frame: _Frame, name: str) -> Tensor | None:
    parameters = frame.module._parameters
    return parameters[name] if name in parameters else frame.module._buffers[name]


def _as_type(value: Any, dtype: torch.dtype) -> Any:
    """With the floating tensors in it made `dtype`."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, list):
        return [_as_type(item, dtype) for item in value]
    if isinstance(value, dict):
        return {name: _as_type(item, dtype) for name, item in value.items()}
    return value


def _compile(nodes: Sequence[Node], graph: UnitGraph) -> tuple[_Step, ...]:
    """The nodes as steps, each with the names that are read there for the last time."""
    last: dict[str, int] = dict.fromkeys(graph.inputs, -1)
    for index, node in enumerate(nodes):
        last.update((name, index) for name in node.results)  # one that nobody reads goes at once
        last.update((value.name, index) for value in node.values() if isinstance(value, Name))
    for name in graph.results:
        last.pop(name, None)
    forget: list[list[str]] = [["_"] if "_" in node.results else [] for node in nodes]
    for name, index in last.items():
        if name != "_" and index >= 0:
            forget[index].append(name)
    return tuple(_Step(node, tuple(names)) for node, names in zip(nodes, forget, strict=True))
