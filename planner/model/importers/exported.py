"""From a module to the plain graphs that `torch.export` makes of it: in training, in evaluation, at two batch sizes."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from planner.errors import ModelError, RefusedModelError
from planner.model.importers.contexts import without_idle_contexts
from planner.model.importers.diagnosis import complex_numbers, diagnose, not_known, sized_by_data
from planner.model.importers.obstacles import Obstacle, obstacles_of, refusal
from planner.model.importers.places import NO_LINE, line_of_trace
from planner.model.importers.recorded import Call, Result, first_names, in_evaluation, paired, part_of, record
from planner.model.importers.steps import SIZES, Attribute, Step, StepGraph
from planner.operators.aten.kinds import ATEN
from planner.operators.graph_text import Batch, Training

_TRAINING = ("training", "train")


@dataclass
class Exported(StepGraph):
    """A module's graph in one mode."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """The module's tensors and constants that steps read, by name."""


@dataclass(frozen=True)
class _Look:
    """One node of a graph, as its mode has it."""

    node: fx.Node
    call: Call
    """With the first of `SIZES`; tensors are nodes."""
    other: Call
    """With the second."""


@dataclass(frozen=True)
class _Seen:
    """A module's graph in one mode, with both numbers of samples."""

    graph: fx.GraphModule
    looks: list[_Look]
    calls: Sequence[Call] = ()
    """What the module did when it was run with the second of `SIZES`."""
    results: Mapping[fx.Node, Result] | None = None
    """What nodes gave there; None where it did something else than its graph."""


def export(module: nn.Module, sample: Tensor) -> tuple[Exported, Exported]:
    """The graphs of `module` in training and in evaluation; `sample` is (samples, …), as many as the last of `SIZES`.

    It is exported once, in training with the first of `SIZES`. What the number of samples changes, and what evaluation
    does, is seen by running it; where that differs in more than numbers and modes, it is exported again. Modes of its
    parts and its buffers are left changed.

    Raises RefusedModelError with all that is in the way in either mode, naming lines of the network's code.
    """
    found: list[Obstacle] = []
    graphs: list[Exported] = []
    training: _Seen | None = None
    for is_training in (True, False):
        module.train(is_training)  # a module that overrides it to stay in evaluation is heard
        try:
            seen = _seen(module, sample) if training is None else _seen_in_evaluation(module, sample, training)
            training = seen if is_training and seen.results is not None else None
            graphs.append(_exported(module, seen, is_training))
        except RefusedModelError as error:
            found += [obstacle for obstacle in obstacles_of(error) if obstacle not in found]
    if found:
        raise refusal(found)
    return graphs[0], graphs[1]


def _seen(module: nn.Module, sample: Tensor, calls: Sequence[Call] | None = None) -> _Seen:
    """`calls` are those of `record`, where it has been run."""
    graph = _traced(module, sample[: SIZES[0]])
    nodes = _operations(graph)
    calls = record(module, sample) if calls is None else calls
    results = paired(nodes, calls, first_names(module))
    if results is not None:
        given = [results.get(node) for node in nodes]
        others = [
            _call(node) if result is None else calls[result.call].result(result.item)
            for node, result in zip(nodes, given, strict=True)
        ]
    else:
        again = _operations(_traced(module, sample))
        _check_same(nodes, again)
        others = [_call(node) for node in again]
    looks = [_Look(node, _call(node), other) for node, other in zip(nodes, others, strict=True)]
    return _Seen(graph, looks, calls, results)


def _seen_in_evaluation(module: nn.Module, sample: Tensor, training: _Seen) -> _Seen:
    """`training` is what it does there, and what nodes gave."""
    assert training.results is not None
    calls = record(module, sample)
    same = in_evaluation(training.calls, calls)
    if same is None:
        return _seen(module, sample, calls)
    looks: list[_Look] = []
    for look in training.looks:
        result = training.results.get(look.node)
        if result is None or result.call not in same:
            continue
        call, other = look.call, same[result.call].result(result.item)
        if part_of(look.node) is None:
            call = replace(call, args=_told(call.args, other.args), kwargs=_told(call.kwargs, other.kwargs))
        looks.append(_Look(look.node, call, other))
    return _Seen(training.graph, looks)


def _told(mine: Any, its: Any) -> Any:
    """`mine` with the modes that `its` has."""
    if isinstance(mine, list | tuple):
        return [_told(*pair) for pair in zip(mine, its, strict=True)]
    if isinstance(mine, Mapping):
        return {key: _told(value, its[key]) for key, value in mine.items()}
    return its if isinstance(mine, bool) else mine


def _call(node: fx.Node) -> Call:
    """A node as a call whose tensors are nodes."""
    seen = node.meta.get("val")
    results = seen if isinstance(seen, list | tuple) else [seen]
    shapes = tuple(tuple(each.shape) if isinstance(each, Tensor) else () for each in results)
    return Call(str(node.target), node.args, node.kwargs, shapes)


def _exported(module: nn.Module, seen: _Seen, training: bool) -> Exported:
    steps: dict[fx.Node, Step] = {}
    tensors: dict[str, Tensor] = {}
    names = first_names(module)
    found: list[Obstacle] = []
    for look in seen.looks:
        node = look.node
        try:
            steps[node] = _step(look, steps, seen.graph, tensors, names, training)
        except ModelError as error:
            found += [obstacle for obstacle in obstacles_of(error) if obstacle not in found]
            steps[node] = Step(node.name, "", {}, None, None, False, "", "")
    if found:
        raise refusal(found)
    output = next(node for node in seen.graph.graph.nodes if node.op == "output").args[0]
    given = [value for value in output if value is not None] if isinstance(output, tuple | list) else [output]
    if len(given) != 1 or given[0] not in steps:
        raise ModelError(f"forward gives {len(given)} tensors; one tensor (batch, classes) is needed")
    trained = frozenset(name for name, parameter in module.named_parameters() if parameter.requires_grad)
    return Exported(list(steps.values()), steps[given[0]], trained, tensors)


def _operations(graph: fx.GraphModule) -> list[fx.Node]:
    """The input and what is done, in order."""
    return [node for node in graph.graph.nodes if node.op not in ("get_attr", "output")]


def _check_same(nodes: list[fx.Node], others: list[fx.Node]) -> None:
    """Raise ModelError where the two do other things."""
    if [node.target for node in nodes] == [node.target for node in others]:
        return
    pairs = zip(nodes, others, strict=False)
    first = next((node for node, other in pairs if node.target != other.target), min(nodes, others, key=len)[-1])
    problem = "forward does other things with 3 samples than with 5; it may not depend on their number"
    raise refusal([Obstacle(problem, _line(first))])


def _traced(module: nn.Module, sample: Tensor) -> fx.GraphModule:
    def trace() -> fx.GraphModule:
        with warnings.catch_warnings(), _without_collection():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (sample,), strict=False)
            return _without_empty_parts(without_idle_contexts(program.module(check_guards=False)))

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
    if node.op != "call_function" or part_of(node) is not None:
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
    look: _Look,
    steps: dict[fx.Node, Step],
    graph: fx.GraphModule,
    tensors: dict[str, Tensor],
    names: Mapping[str, str],
    training: bool,
) -> Step:
    node, other = look.node, look.other
    if unknown := _unknown(node):
        raise refusal(unknown)
    seen = node.meta.get("val")
    shape, dtype, is_batch = None, None, False
    if isinstance(seen, Tensor):
        (its,) = other.shapes
        shape, dtype = tuple(seen.shape), str(seen.dtype).removeprefix("torch.")
        is_batch = [shape[:1], its[:1]] == [(size,) for size in SIZES] and shape[1:] == its[1:]
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

    if (part := part_of(node)) is not None:
        return Step(node.name, "", {"of": steps[part[0]]}, shape, dtype, is_batch, path, place, item=part[1])
    name = _operator(node)
    given_names = [argument.name for argument in ATEN[name].arguments]
    pairs = zip(look.call.args, other.args, strict=True)
    arguments = {given_names[index]: value(*pair) for index, pair in enumerate(pairs)}
    arguments |= {key: value(given, other.kwargs[key]) for key, given in look.call.kwargs.items()}
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
    assert node.graph.owning_module is not None
    found = dict(node.graph.owning_module.named_modules()).get(str(name.target))
    return found.graph if isinstance(found, fx.GraphModule) else None
