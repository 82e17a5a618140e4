"""Where an exported graph can be cut: behind a step, wherever exactly one value that depends on the input is alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from planner.limits import MAX_NAME_LENGTH
from planner.model.importers.steps import Attribute, Step, StepGraph
from planner.operators.aten.kinds import ATEN

_NOT_WEIGHTY = ("norm", "add_", "add.", "addc", "mul", "div", "sub", "prelu", "expand", "index", "detach", "lift", "to")
"""Beginnings of operators whose tensors do not make a unit: normalisation, scales, positions, constants."""

_PRODUCTS = ("conv", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "embedding", "lstm", "gru", "rnn")
"""Beginnings of operators that a unit is made for where they read what is worked out of a weight, too."""

_TAIL = ("adaptive_avg", "avg_pool", "flatten", "view", "reshape", "mean", "squeeze", "select", "permute", "transpose")
"""Beginnings of operators that prepare for a linear layer, and stay with it."""


@dataclass(frozen=True)
class Cut:
    """A place between two steps."""

    index: int
    """Of the last step before it."""
    value: Step
    """The one that is alive."""


def possible_cuts(graph: StepGraph) -> list[Cut]:
    """All of them, in order; none behind the last step.

    A tensor that two units would read (a shared weight) keeps its readers together.
    """
    depends = graph.dependent
    last = {graph.output: len(graph.steps)}
    readers: dict[str, list[int]] = {}
    for index, step in enumerate(graph.steps):
        for value in step.inputs():
            if isinstance(value, Step):
                last[value] = max(index, last.get(value, -1))
        for name in graph.reads[step]:
            if step in depends or (step.operator and ATEN[step.operator].overwrites):
                readers.setdefault(name, []).append(index)
    begun, ended = Counter(each[0] for each in readers.values()), Counter(each[-1] for each in readers.values())
    dying: dict[int, list[Step]] = {}
    for value, index in last.items():
        dying.setdefault(index, []).append(value)
    found: list[Cut] = []
    alive: set[Step] = {graph.steps[0]}
    shared = 0
    for index, step in enumerate(graph.steps[:-1]):
        if step in depends and last.get(step, -1) > index:
            alive.add(step)
        alive.difference_update(dying.get(index, ()))
        shared += begun[index] - ended[index]
        if index and len(alive) == 1 and step in depends:
            (only,) = alive
            if not shared and only.is_batch and only.dtype == "float32":
                found.append(Cut(index, only))
    return found


def unit_cuts(graph: StepGraph, allowed: list[Cut]) -> list[Cut]:
    """Those that units end at: each unit has one step with weights, as a convolution, and what follows it.

    What prepares for a linear layer (average pools, flattening) goes with that. Several steps with weights that no cut
    parts are one unit.
    """
    by_index = {cut.index: cut for cut in allowed}
    found: list[Cut] = []
    since: list[Cut] = []
    depends = graph.dependent
    weighty = False
    for index, step in enumerate(graph.steps):
        if step in depends and has_weights(graph, step):
            if weighty and since:
                found.append(_before(graph, since, step))
            if since or not weighty:
                since = []
            weighty = True
        if index in by_index:
            since.append(by_index[index])
    return found


def graph_parts(graph: StepGraph, cuts: list[Cut]) -> list[tuple[Step, list[Step], Step]]:
    """What comes in, the steps, and what goes out, for each unit."""
    found: list[tuple[Step, list[Step], Step]] = []
    given, start = graph.steps[0], 1
    for cut in cuts:
        found.append((given, graph.steps[start : cut.index + 1], cut.value))
        given, start = cut.value, cut.index + 1
    found.append((given, graph.steps[start:], graph.output))
    return found


def unit_name(graph: StepGraph, steps: list[Step], taken: Collection[str]) -> str:
    """The path of the module whose weights the unit begins with, made unique."""
    step = next((step for step in steps if has_weights(graph, step)), steps[0])
    path = step.path or step.name
    base = (f"layer {path}" if path.isdigit() else path)[: MAX_NAME_LENGTH - 8]
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base} ({count})"
    return name


def has_weights(graph: StepGraph, step: Step) -> bool:
    """Whether it is one that a unit is made for."""
    if any(isinstance(value, Attribute) for value in step.inputs()):
        return "norm" not in step.operator and not step.operator.startswith(_NOT_WEIGHTY)
    return bool(graph.reads[step]) and step.operator.startswith(_PRODUCTS)  # a weight that is turned, or normalised


def _before(graph: StepGraph, cuts: list[Cut], step: Step) -> Cut:
    """The last of the cuts before `step`; before a linear layer that reads one row per sample, the one before what
    makes a row of an image.
    """
    chosen = len(cuts) - 1
    reads = next(value for value in step.inputs() if isinstance(value, Step))
    if step.operator == "linear" and reads.shape is not None and len(reads.shape) == 2:
        while chosen > 0 and cuts[chosen].value.operator.startswith((*_TAIL, "dropout")):
            chosen -= 1
    return cuts[chosen]
