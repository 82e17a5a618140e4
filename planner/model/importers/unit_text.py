"""Steps of an exported graph, as the lines of a unit graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from planner.errors import ModelError
from planner.model.importers.steps import Attribute, Step, StepGraph, aliased
from planner.operators.aten.kinds import ATEN
from planner.operators.graph_text import INPUT, value_text
from planner.operators.unit_graph import GraphInput


class UnitText:
    """The lines of one unit."""

    def __init__(
        self,
        graph: StepGraph,
        given: Sequence[Step],
        steps: list[Step],
        results: Sequence[Step],
        reserved: dict[Step, str],
    ) -> None:
        """`steps` are those between the cuts, `given` the values that come in, `results` those that go out.

        `reserved` are names that results have to get.
        """
        self._graph, self._depends = graph, graph.dependent
        self._names: dict[Step, str] = {value: f"{INPUT}{index or ''}" for index, value in enumerate(given)}
        self.inputs = tuple(GraphInput(self._names[value], (value.shape or ())[1:]) for value in given[1:])
        """What comes in beside the first."""
        self._given = frozenset(given)
        self._shares = set(given)
        self.tensors: list[str] = []
        """Names of the tensors that it reads, in their order."""
        self.lines: list[str] = []
        self._reserved = reserved
        self._taken = {*self._names.values(), "true", "false", "none", "training", "batch", "_"}
        self._counts: dict[str, int] = {}
        needed = self._needed(steps, results)
        self._wanted = set(needed)
        for step in needed:
            if step.item is None:
                self._write(step)
        self.results = tuple(self._names[result] for result in results)
        """What goes out."""

    def _needed(self, steps: list[Step], results: Sequence[Step]) -> list[Step]:
        """In order: what the results need, what writes into them or into a tensor of the unit, and constants anew."""
        graph, inside = self._graph, set(steps)
        end = max(graph.position[step] for step in steps)
        wanted: set[Step] = set()
        looked_at: set[Step] = set()
        waiting = [result for result in results if result not in self._given]
        for result in self._given.intersection(results):
            waiting += [writer for writer in graph.writers.get(graph.roots[result], ()) if writer in inside]
        for step in steps:  # counters of batch normalisation, for instance
            overwrites = ATEN[step.operator].overwrites if step.operator else None
            if overwrites and isinstance(step.arguments.get(overwrites), Attribute):
                waiting.append(step)
        while waiting:
            step = waiting.pop()
            if step in wanted or step in self._given:
                continue
            if step in self._depends and step not in inside:
                raise ModelError(f"{step.place}: {step.name} is needed behind a cut that it does not pass")
            wanted.add(step)
            waiting += [value for value in step.inputs() if isinstance(value, Step)]
            roots = {graph.roots[value] for value in (step, *step.inputs()) if isinstance(value, Step)} - looked_at
            looked_at |= roots
            for root in roots:
                waiting += [
                    writer
                    for writer in graph.writers.get(root, ())
                    if graph.position[writer] <= end and (writer in inside or writer not in self._depends)
                ]
            if step.results:  # all of several results are named together
                waiting += [item for item in graph.items.get(step, ()) if item in inside]
        return sorted(wanted, key=graph.position.__getitem__)

    def _write(self, step: Step) -> None:
        operator, arguments = ATEN[step.operator], dict(step.arguments)
        target = arguments.get(operator.overwrites) if operator.overwrites else None
        name = step.operator
        converted = isinstance(target, Step) and target in self._shares
        if converted:  # the unit's input is the caller's: it is not written into
            name = re.sub(r"_(?=\.|$)", "", name, count=1)
            if target not in self._given or name not in ATEN:
                raise ModelError(f"{step.place}: {step.operator} writes into what comes before a cut")
        words = []
        named = False
        for argument in operator.arguments:
            if argument.name not in arguments:
                named = True
                continue
            text = self._text(arguments[argument.name], step)
            named = named or argument.keyword_only
            words.append(f"{argument.name}={text}" if named else text)
        only_training = isinstance(target, Attribute)
        items: dict[int | None, Step] = {}
        if only_training:
            results = ["_"]
        elif step.results:
            items = {each.item: each for each in self._graph.items.get(step, ()) if each in self._wanted}
            results = [self._name(items[item]) if item in items else "_" for item in range(step.results)]
        else:
            results = [self._name(step)]
        self.lines.append(f"{', '.join(results)} = {name}({', '.join(words)})" + " if training" * only_training)
        if converted:  # whoever reads the input from here on reads what was made of it
            assert isinstance(target, Step)
            self._names[target] = results[0]
            self._shares = {each for each in self._shares if self._graph.roots[each] is not self._graph.roots[target]}
        elif any(isinstance(value, Step) and value in self._shares for value in aliased(step)):
            self._shares.add(step)
            self._shares.update(items.values())

    def _name(self, step: Step) -> str:
        """What a result is called: as its operator, with a number where that is taken."""
        found = self._reserved.get(step)
        base = re.match(r"\w+", step.operator or self._operator_of(step))
        assert base is not None
        while found is None or found in self._taken:
            count = self._counts.get(base[0], 0)
            self._counts[base[0]] = count + 1
            name = f"{base[0]}_{count}" if count else base[0]
            found = None if name in self._reserved.values() else name
        self._taken.add(found)
        self._names[step] = found
        return found

    @staticmethod
    def _operator_of(step: Step) -> str:
        whole: Step = step.arguments["of"]
        return whole.operator

    def _text(self, value: Any, step: Step) -> str:
        match value:
            case Step():
                return self._names[value]
            case Attribute(name):
                if name not in self.tensors:
                    self.tensors.append(name)
                return f"${name}"
            case list():
                return f"[{', '.join(self._text(item, step) for item in value)}]"
        try:
            return value_text(value)
        except ValueError as error:
            raise ModelError(f"{step.place}: {step.operator} {error}") from None
