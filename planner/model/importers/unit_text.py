"""Steps of an exported graph, as the lines of a unit graph."""

from __future__ import annotations

import re
from typing import Any

from planner.errors import ModelError
from planner.model.importers.steps import Attribute, Step, StepGraph, aliased
from planner.operators.aten.kinds import ATEN
from planner.operators.graph_text import INPUT, value_text


class UnitText:
    """The lines of one unit."""

    def __init__(
        self, graph: StepGraph, given: Step, steps: list[Step], result: Step, reserved: dict[Step, str]
    ) -> None:
        """`steps` are those between the cuts, `given` the value that comes in, `result` the one that goes out.

        `reserved` are names that results have to get.
        """
        self._graph, self._depends = graph, graph.dependent
        self._names: dict[Step, str] = {given: INPUT}
        self._given = given
        self._shares = {given}
        self.tensors: list[str] = []
        """Names of the tensors that it reads, in their order."""
        self.lines: list[str] = []
        self._reserved = reserved
        self._taken = {INPUT, "true", "false", "none", "training", "batch", "_"}
        self._counts: dict[str, int] = {}
        needed = self._needed(steps, result)
        self._wanted = set(needed)
        for step in needed:
            if step.item is None:
                self._write(step)
        self.result = self._names[result]

    def _needed(self, steps: list[Step], result: Step) -> list[Step]:
        """In order: what the result needs, what writes into it or into a tensor of the unit, and constants anew."""
        graph, inside = self._graph, set(steps)
        end = max(graph.position[step] for step in steps)
        wanted: set[Step] = set()
        looked_at: set[Step] = set()
        waiting = [result]
        for step in steps:  # counters of batch normalisation, for instance
            overwrites = ATEN[step.operator].overwrites if step.operator else None
            if overwrites and isinstance(step.arguments.get(overwrites), Attribute):
                waiting.append(step)
        while waiting:
            step = waiting.pop()
            if step in wanted or step is self._given:
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
            if target is not self._given or name not in ATEN:
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
            self._names[self._given] = results[0]
            self._shares.clear()
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
