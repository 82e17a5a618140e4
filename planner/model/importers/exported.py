"""From a module to the plain graphs that `torch.export` makes of it: in training, in evaluation, at two batch sizes."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from planner.errors import ModelError
from planner.model.importers.diagnosis import complex_numbers, diagnose, not_known, sized_by_data
from planner.model.importers.obstacles import Obstacle, obstacles_of, refusal
from planner.model.importers.places import NO_LINE, line_of_trace
from planner.model.importers.steps import SIZES, Attribute, Step, StepGraph
from planner.operators.aten.kinds import ATEN
from planner.operators.graph_text import Batch, Training

_TRAINING = ("training", "train")


@dataclass
class Exported(StepGraph):
    """A module's graph in one mode."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """The module's tensors and constants that steps read, by name."""
    nodes: tuple[fx.Node, ...] = ()
    """Of torch's graph with the first of `SIZES`."""
    others: tuple[fx.Node, ...] = ()
    """The same ones with the second."""


def export(module: nn.Module, sample: Tensor, *, training: bool, like: Exported | None = None) -> Exported:
    """The graph of `module` in a mode, which it is put into; `sample` is (samples, …), at least the largest of `SIZES`.

    Where it does the same as `like`, its graph in training, that says what depends on the number of samples; a second
    export is not needed. Raises ModelError naming the line of the network's code.
    """
    first = _traced(module, sample[: SIZES[0]], training)
    nodes = _operations(first)
    others = None if like is None else _others(nodes, like)
    if others is None:
        others = _operations(_traced(module, sample[: SIZES[1]], training))
        _check_same(nodes, others)
    steps: dict[fx.Node, Step] = {}
    tensors: dict[str, Tensor] = {}
    names = _first_names(module)
    found: list[Obstacle] = []
    for node, other in zip(nodes, others, strict=True):
        try:
            steps[node] = _step(node, other, steps, first, tensors, names, training)
        except ModelError as error:
            found += [obstacle for obstacle in obstacles_of(error) if obstacle not in found]
            steps[node] = Step(node.name, "", {}, None, None, False, "", "")
    if found:
        raise refusal(found)
    output = next(node for node in first.graph.nodes if node.op == "output").args[0]
    given = [value for value in output if value is not None] if isinstance(output, tuple | list) else [output]
    if len(given) != 1 or given[0] not in steps:
        raise ModelError(f"forward gives {len(given)} tensors; one tensor (batch, classes) is needed")
    trained = frozenset(name for name, parameter in module.named_parameters() if parameter.requires_grad)
    return Exported(list(steps.values()), steps[given[0]], trained, tensors, tuple(nodes), tuple(others))


def _operations(graph: fx.GraphModule) -> list[fx.Node]:
    """The input and what is done, in order."""
    return [node for node in graph.graph.nodes if node.op not in ("get_attr", "output")]


def _others(nodes: list[fx.Node], like: Exported) -> list[fx.Node] | None:
    """Nodes in evaluation with the second of `SIZES`, as far as it matters: those in training that do the same.

    None where the two differ in more than the mode that operators are told, and counters that training counts on.
    """
    found: dict[fx.Node, fx.Node] = {}
    others: list[fx.Node] = []
    rest = iter(zip(like.nodes, like.others, strict=True))
    for node in nodes:
        pair = next(rest, None)
        while pair is not None and _counts(pair[0]) and not _does_the_same(node, pair[0], found):
            pair = next(rest, None)
        if pair is None or not _does_the_same(node, pair[0], found):
            return None
        found[node] = pair[0]
        others.append(pair[1])
    return others if all(_counts(twin) for twin, _ in rest) else None


def _counts(node: fx.Node) -> bool:
    """Whether it only adds to a tensor of the module, as batch normalisation counts batches."""
    target = node.args[0] if node.args else None
    return (
        _operator(node) == "add_.Tensor" and not node.users and isinstance(target, fx.Node) and target.op == "get_attr"
    )


def _does_the_same(node: fx.Node, twin: fx.Node, twins: dict[fx.Node, fx.Node]) -> bool:
    def same(mine: Any, its: Any) -> bool:
        if isinstance(mine, fx.Node) and isinstance(its, fx.Node):
            if mine.op == "get_attr":
                return its.op == "get_attr" and mine.target == its.target
            return twins.get(mine) is its
        if isinstance(mine, list | tuple):
            return (
                isinstance(its, list | tuple)
                and len(mine) == len(its)
                and all(same(a, b) for a, b in zip(mine, its, strict=True))
            )
        return type(mine) is type(its) and (mine == its or isinstance(mine, bool))

    if node.target != twin.target or node.kwargs.keys() != twin.kwargs.keys():
        return False
    given, its = [*node.args, *node.kwargs.values()], [*twin.args, *(twin.kwargs[key] for key in node.kwargs)]
    seen, other = node.meta.get("val"), twin.meta.get("val")
    if isinstance(seen, Tensor) and not (isinstance(other, Tensor) and seen.shape == other.shape):
        return False
    return same(given, its)


def _check_same(nodes: list[fx.Node], others: list[fx.Node]) -> None:
    """Raise ModelError where the two do other things."""
    if [node.target for node in nodes] == [node.target for node in others]:
        return
    pairs = zip(nodes, others, strict=False)
    first = next((node for node, other in pairs if node.target != other.target), min(nodes, others, key=len)[-1])
    problem = "forward does other things with 3 samples than with 5; it may not depend on their number"
    raise refusal([Obstacle(problem, _line(first))])


def _first_names(module: nn.Module) -> dict[str, str]:
    """Of each tensor's names, which is several where it is shared, the first."""
    first: dict[int, str] = {}
    state = module.state_dict(keep_vars=True)
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _traced(module: nn.Module, sample: Tensor, training: bool) -> fx.GraphModule:
    module.train(training)  # a module that overrides it to stay in evaluation is heard

    def trace() -> fx.GraphModule:
        with warnings.catch_warnings(), _without_collection():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (sample,), strict=False)
            return _without_empty_parts(program.module(check_guards=False))

    try:
        return trace()
    except Exception as error:  # whatever somebody else's forward raises, or torch.export cannot follow
        found, graph = diagnose(module, sample, trace, error)
        for node in graph.graph.nodes if graph is not None else ():
            found += [obstacle for obstacle in _unknown(node) if obstacle not in found]
        raise refusal(found) from error


def _without_empty_parts(graph: fx.GraphModule) -> fx.GraphModule:
    """Take out of each `cat` the tensors of shape (0,), which it passes over: an empty cache of keys is one."""
    for node in graph.graph.nodes:
        if node.op != "call_function" or _operator(node) != "cat":
            continue
        parts = node.args[0]
        empty = [part for part in parts if tuple(part.meta["val"].shape if "val" in part.meta else ()) == (0,)]
        if empty and len(empty) < len(parts):
            node.args = ([part for part in parts if part not in empty], *node.args[1:])
            for part in empty:
                _erase_unread(graph.graph, part)
    return graph


def _erase_unread(graph: fx.Graph, node: fx.Node) -> None:
    """Erase what nobody reads, and what only that has read."""
    if node.users or node.op == "placeholder":
        return
    read = node.all_input_nodes
    graph.erase_node(node)
    for each in read:
        _erase_unread(graph, each)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Within this no cycles are looked for: an export makes many objects, and an eighth of its time went into that."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _unknown(node: fx.Node) -> list[Obstacle]:
    """What is in the way of one node by itself."""
    if node.op != "call_function" or str(node.target) == "<built-in function getitem>":
        return []
    place, seen = _line(node), node.meta.get("val")
    read = [each.meta.get("val") for each in node.all_input_nodes]
    if any(isinstance(value, Tensor) and value.is_complex() for value in (seen, *read)):
        return [complex_numbers(place)]
    if isinstance(seen, Tensor) and not all(type(extent) is int for extent in seen.shape):
        return [sized_by_data(place)]
    name = _operator(node)
    return [] if name in ATEN else [not_known(name, _path(node), place)]


def _operator(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").removesuffix(".default")


def _path(node: fx.Node) -> str:
    """The module whose forward it is in."""
    return str(["", *(path for path, _ in (node.meta.get("nn_module_stack") or {}).values())][-1])


def _step(
    node: fx.Node,
    other: fx.Node,
    steps: dict[fx.Node, Step],
    graph: fx.GraphModule,
    tensors: dict[str, Tensor],
    names: dict[str, str],
    training: bool,
) -> Step:
    if unknown := _unknown(node):
        raise refusal(unknown)
    seen = node.meta.get("val")
    its = other.meta.get("val")
    shape, dtype, is_batch = None, None, False
    if isinstance(seen, Tensor) and isinstance(its, Tensor):
        shape, dtype = tuple(seen.shape), str(seen.dtype).removeprefix("torch.")
        is_batch = [shape[:1], its.shape[:1]] == [(size,) for size in SIZES] and shape[1:] == its.shape[1:]
    place = _line(node)
    path = _path(node)
    if node.op == "placeholder":
        return Step(node.name, "", {}, shape, dtype, is_batch, path, place)

    def value(mine: Any, its: Any) -> Any:
        if isinstance(mine, fx.Node):
            if mine.op != "get_attr":
                return steps[mine]
            name = str(mine.target)
            tensors[names.get(name, name)] = _attribute(graph, name, place)
            return Attribute(names.get(name, name))
        if isinstance(mine, list | tuple):
            return [value(a, b) for a, b in zip(mine, its, strict=True)]
        if isinstance(mine, bool) and not training:
            return mine  # the other one may be training's
        return _literal(mine, its, place)

    if str(node.target) == "<built-in function getitem>":
        whole, item = node.args
        assert isinstance(whole, fx.Node) and isinstance(item, int)
        return Step(node.name, "", {"of": steps[whole]}, shape, dtype, is_batch, path, place, item=item)
    name = _operator(node)
    given_names = [argument.name for argument in ATEN[name].arguments]
    arguments = {given_names[index]: value(*pair) for index, pair in enumerate(zip(node.args, other.args, strict=True))}
    arguments |= {key: value(given, other.kwargs[key]) for key, given in node.kwargs.items()}
    for argument in ATEN[name].arguments:
        given = arguments.get(argument.name, argument.default)
        if training and argument.name in _TRAINING and given is True:
            arguments[argument.name] = Training()
        elif not argument.required and _same(given, argument.default):
            arguments.pop(argument.name, None)
    results = len(seen) if isinstance(seen, list | tuple) else 0
    return Step(node.name, name, arguments, shape, dtype, is_batch, path, place, results)


def _same(given: Any, default: Any) -> bool:
    return type(given) is type(default) and given == default


def _attribute(graph: fx.GraphModule, name: str, place: str) -> Tensor:
    found: Any = graph
    for part in name.split("."):
        found = getattr(found, part)
    if not isinstance(found, Tensor):
        raise ModelError(f"{place}: works under torch.no_grad() or autocast within forward, which is not known here")
    return found.detach()


def _literal(mine: Any, its: Any, place: str) -> Any:
    if isinstance(mine, torch.dtype):
        return str(mine).removeprefix("torch.")
    if isinstance(mine, torch.device | torch.memory_format | torch.layout):
        return None
    if mine == its:
        return mine
    if type(mine) is int and type(its) is int and mine * SIZES[1] == its * SIZES[0] and mine % SIZES[0] == 0:
        return Batch(mine // SIZES[0])
    raise ModelError(f"{place}: {mine} with {SIZES[0]} samples is {its} with {SIZES[1]}; that is no multiple of both")


def _line(node: fx.Node) -> str:
    """Where the network's code does it; of a part that was left in one piece, where its first operator is."""
    inner = [_graph_of(node, name) for name in node.all_input_nodes if name.op == "get_attr"]
    nodes = [node, *(each for graph in inner if graph is not None for each in graph.nodes)]
    places = (line_of_trace(str(each.meta.get("stack_trace") or "")) for each in nodes)
    return next((place for place in places if place != NO_LINE), NO_LINE)


def _graph_of(node: fx.Node, name: fx.Node) -> fx.Graph | None:
    found = getattr(node.graph.owning_module, str(name.target), None)
    return found.graph if isinstance(found, fx.GraphModule) else None
