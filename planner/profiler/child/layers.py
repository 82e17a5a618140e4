"""Costs of every layer of a unit, measured within the unit's own forward and backward.

Hooks name the profiler's ranges of forward; a backward node belongs to the layer whose forward made it, by the
profiler's sequence numbers. So in-place layers, shared storages and views count as they do in training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from planner.model.activations import Activations, first_of, tensors_of
from planner.profiler.child.audit import SavedStorages
from planner.profiler.child.meter import MARK, Meter, Node, is_allocation
from planner.profiler.child.trace import as_leaves, downstream, set_gradients
from planner.schema.model import Layer, Unit
from planner.schema.profile import Costs, LayerProfile, Layers
from planner.training.optimizers import Optimizer

_RANGE = "planner:layer:"
_STEPS = 3
_BACKWARD = "autograd::engine::evaluate_function: "


@dataclass
class LayerFigures:
    """Measurements of one layer; the fields of `LayerProfile` by these names say more."""

    saved_bytes: int = 0
    """Storages saved for backward that no layer before has saved."""
    output_bytes: int = 0
    """The output's storage, where it is a new one."""
    forward_transient_bytes: int = 0
    """Highest level during forward above the level before."""
    backward_transient_bytes: int = 0
    """Highest level during backward above the level before."""
    scratch_bytes: int = 0
    """Most bytes at one time that belong to no tensor."""
    forward_seconds: float = 0.0
    """Under the profiler."""
    backward_seconds: float = 0.0
    """Under the profiler."""


@dataclass
class Seen:
    """Measurements of a unit's layers."""

    layers: dict[str, LayerFigures] = field(default_factory=dict)
    """By the path of the module within the unit."""
    unattributed_bytes: int = 0
    """Most bytes at one time that were allocated outside all layers."""


def layer_paths(unit: Unit) -> dict[str, str]:
    """A unit's layers by module path (`0`, `3.body.1`), with names for people (`residual.body.conv2d`).

    An operator that occurs more than once in a chain has its index in its name: `conv2d[3]`.
    """
    return dict(_paths(unit.layers, "", ""))


def _paths(layers: tuple[Layer, ...], path: str, name: str) -> Iterator[tuple[str, str]]:
    counts = Counter(layer.op for layer in layers)
    for index, layer in enumerate(layers):
        called = f"{name}{layer.op}" if counts[layer.op] == 1 else f"{name}{layer.op}[{index}]"
        for part, chain in layer.chains().items():
            yield from _paths(chain, f"{path}{index}.{part}.", f"{called}.{part}.")
        yield f"{path}{index}", called


def profile_layers(
    meter: Meter,
    spec: Unit,
    unit: nn.Module,
    inputs: Activations,
    optimizer: Optimizer,
    costs: Costs,
    flops: Mapping[str, int],
) -> Layers:
    """Measure the layers of a unit at one micro-batch.

    Args:
        meter: of the unit's device.
        spec: the unit's description.
        unit: its module, in training mode.
        inputs: (micro-batch, …).
        optimizer: its state made before.
        costs: of the whole unit at this micro-batch; layers get shares of its times.
        flops: multiply-adds of layers that have none within, by module path.
    """
    names = layer_paths(spec)
    seen = see_layers(meter, unit, list(names), inputs)
    forward = sum(layer.forward_seconds for layer in seen.layers.values()) or 1.0
    backward = sum(layer.backward_seconds for layer in seen.layers.values()) or 1.0
    rows = []
    for path, name in names.items():
        layer, module = seen.layers[path], unit.get_submodule(path)
        own = list(module.parameters(recurse=False))
        rows.append(
            LayerProfile(
                name=name,
                parameter_bytes=sum(parameter.nbytes for parameter in own),
                buffer_bytes=sum(buffer.nbytes for buffer in module.buffers(recurse=False)),
                optimizer_bytes=sum(t.nbytes for parameter in own for t in optimizer.state(parameter).values()),
                saved_bytes=layer.saved_bytes,
                output_bytes=layer.output_bytes,
                forward_transient_bytes=layer.forward_transient_bytes,
                backward_transient_bytes=layer.backward_transient_bytes,
                scratch_bytes=layer.scratch_bytes,
                flops=flops.get(path, 0),
                forward_seconds=max(0.0, layer.forward_seconds / forward * costs.forward_seconds),
                backward_seconds=max(0.0, layer.backward_seconds / backward * costs.backward_seconds),
                step_seconds=_step_seconds(meter, own, optimizer),
            )
        )
    return Layers(len(first_of(inputs)), tuple(rows), seen.unattributed_bytes)


def _step_seconds(meter: Meter, parameters: list[nn.Parameter], optimizer: Optimizer) -> float:
    if not parameters:
        return 0.0
    set_gradients(parameters, existing=True)
    times = []
    for _ in range(_STEPS):
        started = meter.now()
        optimizer.step(parameters)
        times.append(meter.now() - started)
    set_gradients(parameters, existing=False)
    return min(times)


def see_layers(meter: Meter, unit: nn.Module, paths: list[str], inputs: Activations) -> Seen:
    """Record one forward and backward of a unit that has another before it. `inputs` is (micro-batch, …)."""
    set_gradients(unit.parameters(), existing=False)
    x = as_leaves(inputs)
    watch = _Watch(
        SavedStorages([*tensors_of(x), *unit.parameters(), *unit.buffers()]), {path: LayerFigures() for path in paths}
    )

    def run() -> None:
        meter.mark()
        with watch.watching(unit), torch.autograd.graph.saved_tensors_hooks(watch.pack, lambda tensor: tensor):
            output = unit(x)
        meter.mark()
        end = downstream(output)
        watch.owned |= {tensor.untyped_storage().data_ptr() for tensor in tensors_of(output)}
        del output
        if end.requires_grad:
            end.backward()  # type: ignore[no-untyped-call]  # torch gives it no type

    nodes = meter.nodes(run)
    gradients = [*(tensor.grad for tensor in tensors_of(x)), *(parameter.grad for parameter in unit.parameters())]
    watch.owned |= {gradient.untyped_storage().data_ptr() for gradient in gradients if gradient is not None}
    set_gradients(unit.parameters(), existing=False)
    return _replay(nodes, watch)


@dataclass
class _Watch:
    """Follows which layer of a unit runs, which storages it saves, and which it outputs."""

    saved: SavedStorages
    layers: dict[str, LayerFigures]
    running: list[str] = field(default_factory=list)
    owned: set[int] = field(default_factory=set)
    """Addresses of storages that tensors own at the end of forward or of backward."""

    @contextmanager
    def watching(self, unit: nn.Module) -> Iterator[None]:
        """In the `with` block, every layer of the unit is a named range of the profiler."""
        with ExitStack() as stack:
            for path in self.layers:
                self._hook(unit.get_submodule(path), path, stack)
            yield

    def _hook(self, module: nn.Module, path: str, stack: ExitStack) -> None:
        ranges: list[record_function] = []

        def enter(module: nn.Module, inputs: tuple[Activations, ...]) -> None:
            self.running.append(path)
            ranges.append(record_function(_RANGE + path))
            ranges[-1].__enter__()  # type: ignore[no-untyped-call]  # torch gives it no type

        def leave(module: nn.Module, inputs: tuple[Activations, ...], output: Activations) -> None:
            ranges.pop().__exit__(None, None, None)
            self.running.pop()
            given = {x.untyped_storage().data_ptr() for each in inputs for x in tensors_of(each)}
            storages = {x.untyped_storage().data_ptr(): x.untyped_storage() for x in tensors_of(output)}
            # A container's output is its last layer's, but for the sum of a residual, which may be a new tensor.
            fresh = storages.keys() - self.owned - given
            self.owned |= storages.keys()
            self.layers[path].output_bytes = sum(storages[address].nbytes() for address in fresh)

        stack.callback(module.register_forward_pre_hook(enter).remove)
        stack.callback(module.register_forward_hook(leave).remove)

    def pack(self, tensor: Tensor) -> Tensor:
        """Autograd's hook: a storage belongs to the first layer that saves it."""
        before = sum(self.saved.sizes.values())
        packed = self.saved.pack(tensor)
        if self.running:
            self.layers[self.running[-1]].saved_bytes += sum(self.saved.sizes.values()) - before
        self.owned.add(tensor.untyped_storage().data_ptr())
        return packed


def _replay(nodes: list[Node], watch: _Watch) -> Seen:
    """Follow the level of allocated bytes through all events, and count each event with its layer."""
    owners = _Owners(nodes)
    tensors = _tensor_allocations(nodes, watch.owned)
    seen = Seen(watch.layers)
    level = stray = 0
    scratch: dict[int, tuple[str, int]] = {}
    held: dict[str, int] = {}
    before = marks = 0
    last: str | None = None
    for node in nodes:
        path = owners.of(node)
        backward = marks > 1
        if node.name == MARK:
            marks += 1
        if path != last:
            before, last = level, path
        if not is_allocation(node):
            continue
        address, size = node.fields.ptr, node.fields.alloc_size
        level += size
        if path is None:
            stray += size
            seen.unattributed_bytes = max(seen.unattributed_bytes, stray if marks == 1 else 0)
            continue
        layer = watch.layers[path]
        above = level - before
        if backward:
            layer.backward_transient_bytes = max(layer.backward_transient_bytes, above)
        else:
            layer.forward_transient_bytes = max(layer.forward_transient_bytes, above)
        if size > 0 and node.fields.allocation_id not in tensors:
            scratch[address] = (path, size)
            held[path] = held.get(path, 0) + size
            layer.scratch_bytes = max(layer.scratch_bytes, held[path])
        elif size < 0 and address in scratch:
            owner, amount = scratch.pop(address)
            held[owner] -= amount
    owners.add_seconds(nodes, watch.layers)
    return seen


def _tensor_allocations(nodes: list[Node], owned: set[int]) -> set[int]:
    """Ids of allocations that belong to tensors: operands, results of `aten::empty…`, or at addresses in `owned`."""
    found: set[int] = set()
    for node in nodes:
        if is_allocation(node):
            parent = node.parents[-1].name if node.parents else ""
            if parent.startswith("aten::empty") or node.fields.ptr in owned:
                found.add(node.fields.allocation_id)
            continue
        for operand in getattr(node.fields, "inputs", ()):
            for tensor in operand if isinstance(operand, list) else [operand]:
                allocation = getattr(tensor, "allocation_id", None)
                if allocation is not None:
                    found.add(allocation)
    return found


class _Owners:
    """Finds the layer that an event of the profiler belongs to."""

    def __init__(self, nodes: list[Node]) -> None:
        self._by_sequence: dict[int, str] = {}
        for node in nodes:
            path = _range_of(node)
            number = getattr(node.fields, "sequence_number", -1)
            # A layer may look at a number without using it; the one that makes a node comes last.
            if path is not None and number >= 0:
                self._by_sequence[number] = path
        self._by_node: dict[int, str] = {}
        last: str | None = None
        for node in nodes:
            if node.name.startswith(_BACKWARD):
                # What accumulates a gradient has no number of its own and runs right behind the node that made it.
                last = self._by_sequence.get(getattr(node.fields, "sequence_number", -1), last)
                if last is not None:
                    self._by_node[node.start_ns] = last

    def of(self, node: Node) -> str | None:
        """The path of the node's layer; None outside all layers."""
        path = _range_of(node)
        if path is not None:
            return path
        for parent in (node, *reversed(node.parents)):
            if parent.name.startswith(_BACKWARD):
                return self._by_node.get(parent.start_ns)
        return None

    def add_seconds(self, nodes: list[Node], layers: dict[str, LayerFigures]) -> None:
        """Add to `layers` the durations of forward ranges, without nested ones, and of backward nodes."""
        for node in nodes:
            seconds = (node.end_ns - node.start_ns) / 1e9
            if node.name.startswith(_RANGE):
                layers[node.name.removeprefix(_RANGE)].forward_seconds += seconds
                outer = next((parent for parent in reversed(node.parents) if parent.name.startswith(_RANGE)), None)
                if outer is not None:
                    layers[outer.name.removeprefix(_RANGE)].forward_seconds -= seconds
            elif node.name.startswith(_BACKWARD):
                path = self.of(node)
                if path is not None:
                    layers[path].backward_seconds += seconds


def _range_of(node: Node) -> str | None:
    """The path of the innermost layer whose forward range contains the node; None outside all."""
    names = (parent.name for parent in (node, *reversed(node.parents)))
    found = next((name for name in names if name.startswith(_RANGE)), None)
    return None if found is None else found.removeprefix(_RANGE)
