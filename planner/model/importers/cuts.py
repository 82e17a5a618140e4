"""Where an exported graph can be cut: behind a step, wherever exactly one value that depends on the input is alive.

A large unit that is left between such cuts (long skips span it) is divided further, where few values are alive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from planner.limits import MAX_BOUNDARY_TENSORS, MAX_NAME_LENGTH, MAX_UNITS
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
    """The one that is alive; of several the last that was computed."""
    further: tuple[Step, ...] = ()
    """Others that are alive, in the order of the graph."""

    @property
    def values(self) -> tuple[Step, ...]:
        """All that are alive."""
        return (self.value, *self.further)

    @property
    def numbers(self) -> int:
        """How many numbers pass, for as many samples as the graph was looked at with."""
        return sum(_numbers(value) for value in self.values)


def _numbers(value: Step) -> int:
    return prod(value.shape or ())


def possible_cuts(graph: StepGraph) -> list[Cut]:
    """All of them, in order; none behind the last step. Those of several values: see `divided`.

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
        if not index or shared or step not in depends or not alive:
            continue
        if len(alive) == 1:
            (only,) = alive
            if only.is_batch and only.dtype == "float32":
                found.append(Cut(index, only))
        elif step in alive and len(alive) <= MAX_BOUNDARY_TENSORS and _may_be_carried(graph, alive, index):
            further = sorted(alive - {step}, key=graph.position.__getitem__)
            found.append(Cut(index, step, tuple(further)))
    return found


def _may_be_carried(graph: StepGraph, alive: set[Step], index: int) -> bool:
    """Whether values may pass together behind the step at `index`: each with memory of its own, which nobody writes
    into any more."""
    roots = {graph.roots[value] for value in alive}
    return (
        len(roots) == len(alive)
        and all(value.is_batch and value.dtype == "float32" for value in alive)
        and all(graph.roots[value].shape is None or _numbers(graph.roots[value]) == _numbers(value) for value in alive)
        and all(graph.position[writer] <= index for root in roots for writer in graph.writers.get(root, ()))
    )


def unit_cuts(graph: StepGraph, allowed: list[Cut]) -> list[Cut]:
    """Those that units end at: each unit has one step with weights, as a convolution, and what follows it.

    What prepares for a linear layer (average pools, flattening) goes with that. Several steps with weights that no cut
    parts are one unit.
    """
    by_index = {cut.index: cut for cut in allowed if not cut.further}
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


_MANY_WEIGHTS = 6
"""Steps with weights that a unit may have without being divided: a block of layers around which a skip goes."""

_LARGE = 0.1
"""Share of all activations from which on a unit of more is divided."""


def divided(graph: StepGraph, cuts: list[Cut], allowed: list[Cut]) -> list[Cut]:
    """The cuts, and in every large unit that they leave those of `allowed` where several values pass.

    Between two steps with weights it is the place where least passes; a place where more passes than at both its
    neighbours (inside the layers of a dense block, say) is left out.
    """
    joint = {cut.index: cut for cut in allowed if cut.further}
    whole = _activations(graph, 0, len(graph.steps))
    edges = [Cut(0, graph.steps[0]), *cuts, Cut(len(graph.steps) - 1, graph.output)]
    found: list[Cut] = []
    for before, behind in pairwise(edges):
        if before.index:
            found.append(before)
        weighty = [
            index
            for index in range(before.index + 1, behind.index + 1)
            if graph.steps[index] in graph.dependent and has_weights(graph, graph.steps[index])
        ]
        if len(weighty) > _MANY_WEIGHTS and _activations(graph, before.index + 1, behind.index + 1) >= _LARGE * whole:
            found += _inside(before, behind, weighty, joint)
    return found if len(found) < MAX_UNITS else cuts


def _inside(before: Cut, behind: Cut, weighty: list[int], joint: dict[int, Cut]) -> list[Cut]:
    """The cuts of a large unit between two others."""
    places = ([joint[at] for at in range(*pair) if at in joint] for pair in pairwise(weighty))
    least = [min(reversed(some), key=lambda cut: cut.numbers) for some in places if some]
    numbers = [cut.numbers for cut in (before, *least, behind)]
    return [
        cut
        for cut, left, own, right in zip(least, numbers, numbers[1:], numbers[2:], strict=False)
        if own <= max(left, right)
    ]


def _activations(graph: StepGraph, start: int, end: int) -> int:
    """Numbers that steps make, each memory once."""
    steps = graph.steps[start:end]
    return sum(_numbers(step) for step in steps if step in graph.dependent and graph.roots[step] is step)


def graph_parts(graph: StepGraph, cuts: list[Cut]) -> list[tuple[tuple[Step, ...], list[Step], tuple[Step, ...]]]:
    """What comes in, the steps, and what goes out, for each unit."""
    found: list[tuple[tuple[Step, ...], list[Step], tuple[Step, ...]]] = []
    given: tuple[Step, ...] = (graph.steps[0],)
    start = 1
    for cut in cuts:
        found.append((given, graph.steps[start : cut.index + 1], cut.values))
        given, start = cut.values, cut.index + 1
    found.append((given, graph.steps[start:], (graph.output,)))
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
