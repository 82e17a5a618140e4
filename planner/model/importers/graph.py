"""From a module's forward to a flat chain of layers: its graph is traced (torch.fx) and walked from output to input.

Between layers there is one tensor. Two branches are understood where they leave one tensor and meet in a sum: there the
walk goes on at the tensor that every path to the sum passes (its immediate dominator), and what lies between becomes a
residual.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import TraceError

from planner import limits
from planner.errors import ModelError
from planner.model.importers.functions import function_layers, function_name
from planner.model.importers.layers import known_type, layer_from
from planner.schema.model import Layer, Residual


@dataclass(frozen=True)
class TracedLayer:
    """One layer of the flat chain."""

    layer: Layer
    """What it is in `model/1`."""
    module_path: str
    """The module it comes from, by its path within the network; for a sum or a function, the module that calls it."""
    sources: tuple[tuple[str, nn.Module], ...] = ()
    """Path and module of each layer with weights, bodies before shortcuts."""


def trace_chain(module: nn.Module) -> tuple[TracedLayer, ...]:
    """The layers of `module`, in the order of forward. It is traced as its `training` flags say.

    Raises ModelError naming the layer: a forward that depends on data, an operator outside the list, two tensors where
    there should be one, weights that are shared or left unused.
    """
    tracer = _Tracer()
    graph = tracer.follow(module)
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(output, fx.Node):
        raise ModelError(f"forward gives {_kind(output)}; one tensor is needed")
    walk = _Walk(module, graph)
    chain = walk.chain(output, next(node for node in graph.nodes if node.op == "placeholder"))
    _check_all_used(module, chain)
    return chain


def _kind(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else ""
    return f"a {type(value).__name__}{size}"


def _check_all_used(module: nn.Module, chain: tuple[TracedLayer, ...]) -> None:
    used = {id(parameter) for traced in chain for _, source in traced.sources for parameter in source.parameters()}
    for name, parameter in module.named_parameters():
        if id(parameter) not in used:
            raise ModelError(f"parameter {name!r} lies on no way from input to output; remove what does not take part")


class _Tracer(fx.Tracer):
    """Remembers which module calls what, and treats as one layer what `model/1` has a word for."""

    def __init__(self) -> None:
        super().__init__()
        self._within: list[str] = []

    def follow(self, module: nn.Module) -> fx.Graph:
        """The graph of `module`. Arguments of its forward that have a default keep it."""
        parameters = list(inspect.signature(module.forward).parameters.values())
        fixed = {p.name: p.default for p in parameters[1:] if p.default is not inspect.Parameter.empty}
        try:
            return self.trace(module, fixed)
        except TraceError as error:
            raise ModelError(f"{self._where()}: what it does depends on the data, or on its shape ({error})") from None
        except Exception as error:  # whatever somebody else's forward raises when it meets a stand-in for a tensor
            raise ModelError(
                f"{self._where()}: cannot be traced ({type(error).__name__}: {str(error)[:300]})"
            ) from error

    def _where(self) -> str:
        return f"layer {self._within[-1]!r}" if self._within else "forward"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return known_type(m) is not None or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self._within.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self._within.pop()  # not where it raises: the innermost module is the one to name
        return result

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["within"] = self._within[-1] if self._within else ""
        return node


_CALLS = ("call_function", "call_method")
_SUMS = (operator.add, operator.iadd, torch.add)


def _branches(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The two tensors that `node` adds; None if it is anything but a plain sum."""
    is_sum = node.target in (_SUMS if node.op == "call_function" else ("add", "add_"))
    if node.op not in _CALLS or not is_sum or node.kwargs.get("alpha", 1) != 1:
        return None
    operands = [*node.args, *(node.kwargs[name] for name in ("input", "other") if name in node.kwargs)]
    left, right = operands if len(operands) == 2 else (None, None)
    return (left, right) if isinstance(left, fx.Node) and isinstance(right, fx.Node) else None


def _dominators(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """For each node the last one before it that every path to it passes. Absent where paths have no such node."""
    before: dict[fx.Node, fx.Node] = {}
    depth: dict[fx.Node, int] = {}
    for node in graph.nodes:
        branches = _branches(node)
        first = node.args[0] if node.args else node.kwargs.get("input")
        if branches is not None:
            found = _meeting(*branches, before, depth)
        else:
            found = first if isinstance(first, fx.Node) else None
        if found is not None:
            before[node] = found
        depth[node] = 0 if found is None else depth[found] + 1
    return before


def _meeting(
    left: fx.Node, right: fx.Node, before: dict[fx.Node, fx.Node], depth: dict[fx.Node, int]
) -> fx.Node | None:
    """The last node that both pass. Whichever is deeper goes back first."""
    a: fx.Node | None = left
    b: fx.Node | None = right
    while a is not b and a is not None and b is not None:
        if depth[a] >= depth[b]:
            a = before.get(a)
        else:
            b = before.get(b)
    return a if a is b else None


class _Walk:
    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        self._module = module
        self._before = _dominators(graph)
        self._taken: set[fx.Node] = set()
        self._weights: set[int] = set()

    def chain(self, end: fx.Node, start: fx.Node, depth: int = 0) -> tuple[TracedLayer, ...]:
        """Everything behind `start` up to and including `end`."""
        found: list[tuple[TracedLayer, ...]] = []
        node = end
        while node is not start:
            if node in self._taken:
                raise ModelError(f"{_where(node)}: {_two_tensors(node)}")
            self._taken.add(node)
            found.append(self._layers(node, depth))
            if node not in self._before:
                raise ModelError(f"{_where(node)}: works on something that is not computed from the input alone")
            node = self._before[node]
        return tuple(traced for chain in reversed(found) for traced in chain)

    def _layers(self, node: fx.Node, depth: int) -> tuple[TracedLayer, ...]:
        if node.op == "call_module":
            return self._module_layers(str(node.target))
        if node.op not in _CALLS:
            kind = "an input beside the first" if node.op == "placeholder" else "a tensor of its own"
            raise ModelError(f"{_where(node)}: {kind} takes part; between layers there is one tensor")
        if _branches(node) is not None:
            return (self._residual(node, depth),)
        layers = function_layers(node, _where(node))
        return tuple(TracedLayer(layer, node.meta["within"]) for layer in layers)

    def _module_layers(self, path: str) -> tuple[TracedLayer, ...]:
        module = self._module.get_submodule(path)
        layer = layer_from(module, f"layer {path!r}")
        if layer is None:
            return ()
        weights = {id(parameter) for parameter in module.parameters()}
        if weights & self._weights:
            raise ModelError(f"layer {path!r}: its weights are used in two places; each layer has weights of its own")
        self._weights |= weights
        return (TracedLayer(layer, path, ((path, module),) if weights else ()),)

    def _residual(self, node: fx.Node, depth: int) -> TracedLayer:
        branches, start = _branches(node), self._before.get(node)
        if depth >= limits.MAX_RESIDUAL_DEPTH:
            raise ModelError(f"{_where(node)}: residuals nested deeper than {limits.MAX_RESIDUAL_DEPTH}")
        if start is None or branches is None:
            raise ModelError(f"{_where(node)}: adds two tensors that do not come from the same one")
        # The identity, or else the shorter branch, is the shortcut.
        shortcut, body = sorted((self.chain(branch, start, depth + 1) for branch in branches), key=len)
        if not body:
            raise ModelError(f"{_where(node)}: adds a tensor to itself; a residual needs a layer in one branch")
        try:
            layer = Residual("residual", tuple(p.layer for p in body), tuple(p.layer for p in shortcut))
        except ValueError as error:
            raise ModelError(f"{_where(node)}: {error}") from None
        sources = tuple(source for traced in (*body, *shortcut) for source in traced.sources)
        return TracedLayer(layer, node.meta["within"], sources)


def _where(node: fx.Node) -> str:
    if node.op == "call_module":
        return f"layer {str(node.target)!r}"
    within = node.meta["within"]
    name = function_name(node) if node.op in _CALLS else str(node.target)
    return f"{name} in {f'layer {within!r}' if within else 'forward'}"


def _two_tensors(node: fx.Node) -> str:
    users = " and ".join(_where(user) for user in node.users)
    return f"its output goes to {users}, which no single sum joins; between units there is one tensor"
