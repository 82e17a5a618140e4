"""An imported network's graph, before it is cut into units: operators in the order in which they run. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from planner.operators.aten.kinds import ATEN

SIZES = (3, 5)
"""Samples that a graph is looked at with. What is 3·k once and 5·k the other time is k times the number of samples."""


@dataclass(eq=False)
class Step:
    """One operator of an exported graph. What it is called is unique within the graph."""

    name: str
    operator: str
    arguments: dict[str, Any]
    """By ATen's names: other steps, tensors by their `Attribute`, literals; those at their default are left out."""
    shape: tuple[int, ...] | None
    """Of its result, at the first of `SIZES`; None where it has several."""
    dtype: str | None
    is_batch: bool
    """Whether its first extent is the number of samples, and no other depends on that."""
    path: str
    """The module whose forward calls it."""
    place: str
    """The line of the network's own code."""
    results: int = 0
    """How many it gives, where these are a list; 0: one tensor."""
    item: int | None = None
    """Of a result that is one of several: which. Its only argument is the step with them all."""

    def inputs(self) -> Iterator[Step | Attribute]:
        """The values that it reads."""
        yield from _inputs(list(self.arguments.values()))


@dataclass(frozen=True)
class Attribute:
    """A tensor of the module."""

    name: str


def _inputs(value: Any) -> Iterator[Step | Attribute]:
    if isinstance(value, Step | Attribute):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _inputs(item)


def aliased(step: Step) -> list[Any]:
    """What a step's result may share memory with."""
    alias = ATEN[step.operator].alias if step.operator else None
    value = step.arguments.get(alias) if alias else None
    return value if isinstance(value, list) else [value]


@dataclass
class StepGraph:
    """A network's graph in one mode."""

    steps: list[Step]
    """In the order in which they run. The first is the input, whose operator is empty."""
    output: Step
    trained: frozenset[str]
    """Names of the tensors that require a gradient."""

    @cached_property
    def position(self) -> dict[Step, int]:
        """The place of each step among all."""
        return {step: index for index, step in enumerate(self.steps)}

    @cached_property
    def roots(self) -> dict[Step, Step]:
        """The value whose memory each step's result shares; itself, where it has its own."""
        found: dict[Step, Step] = {}
        for step in self.steps:
            if step.item is not None:
                found[step] = found[step.arguments["of"]]
            else:
                found[step] = next((found[value] for value in aliased(step) if isinstance(value, Step)), step)
        return found

    @cached_property
    def writers(self) -> dict[Step, list[Step]]:
        """The steps that write into the memory of each root."""
        found: dict[Step, list[Step]] = {}
        for step in self.steps:
            if step.operator and ATEN[step.operator].overwrites:
                found.setdefault(self.roots[step], []).append(step)
        return found

    @cached_property
    def items(self) -> dict[Step, list[Step]]:
        """The results of each step that has several."""
        found: dict[Step, list[Step]] = {}
        for step in self.steps:
            if step.item is not None:
                found.setdefault(step.arguments["of"], []).append(step)
        return found

    @cached_property
    def reads(self) -> dict[Step, frozenset[str]]:
        """The tensors that each step reads: itself, and the trained ones through steps that work on tensors alone."""
        found: dict[Step, frozenset[str]] = {}
        for step in self.steps:
            names = [value.name for value in step.inputs() if isinstance(value, Attribute)]
            for value in step.inputs():
                if isinstance(value, Step) and value not in self.dependent:
                    names += found[value] & self.trained
            found[step] = frozenset(names)
        return found

    @cached_property
    def dependent(self) -> set[Step]:
        """The steps that depend on the input, those that write into such a value included."""
        found = {self.steps[0]}
        for step in self.steps:
            if any(value in found for value in step.inputs()):
                found.add(step)
        return found
