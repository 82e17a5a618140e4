"""Unit graphs written in Python: each call adds a line, and gives the value with its shape. No torch here.

    chain = ChainBuilder((3, 32, 32))
    with chain.unit("stem") as g:
        weight = g.tensor("conv1.weight", (16, g.x.shape[1], 3, 3), ("normal", 0.1))
        g.result = g.call("relu_", g.call("conv2d", g.x, weight, None, [1, 1], [1, 1]))

`planner.model.graph_layers` has the layers that networks are made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from planner.errors import ModelError
from planner.operators.aten.base import Value
from planner.operators.aten.kinds import ATEN
from planner.operators.base import Shape
from planner.operators.graph_text import INPUT, WORDS, Batch, Name, TensorName, Training, value_text
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.model import Unit

BATCH = Batch(1)
"""The number of samples, where a line needs it."""

TRAINING = Training()
"""Whether the unit is in training mode."""

Start = tuple[Literal["normal", "uniform", "constant"], float] | tuple[Literal["values"], tuple[float, ...]]
"""What a tensor begins with: a distribution and its deviation or bound, or numbers."""

SAMPLES = 2
"""For how many samples shapes are worked out. (One would be taken for an extent to be broadcast or squeezed.)"""

Mode = Literal["always", "training", "counting"]
"""When a line runs. `training`: recomputation repeats it; `counting`: that leaves it out, as it moves statistics."""


@dataclass(frozen=True, slots=True)
class Var:
    """A value of a unit that is being written."""

    name: str
    """What lines call it."""
    value: Value
    """Its shape, for `SAMPLES` samples, and its type."""

    @property
    def shape(self) -> Shape:
        """Samples included, wherever they stand."""
        return self.value.shape


class LineFault(ValueError):
    """A line that does not fit what comes in. `problem` is what is said of it, without the line."""

    def __init__(self, line: str, problem: str) -> None:
        super().__init__(f"{line[:200]}: {problem}")
        self.problem = problem


class GraphBuilder:
    """Writes one unit."""

    def __init__(self, shape: Shape, dtype: str = "float32") -> None:
        """`shape` is one sample's."""
        self.x = Var(INPUT, Value((SAMPLES, *shape), dtype))
        """The unit's input."""
        self.result: Var | None = None
        """What leaves the unit; to be set."""
        self._lines: list[tuple[str, Mode]] = []
        self._tensors: dict[str, GraphTensor] = {}
        self._taken: set[str] = {INPUT, "_", *WORDS}
        self._counts: dict[str, int] = {}
        self._shares = {INPUT}

    def tensor(
        self, name: str, shape: Shape, start: Start, kind: Literal["parameter", "buffer", "counter"] = "parameter"
    ) -> TensorName:
        """A tensor of the unit, by the name that its network gives it. Raises ValueError: the name is taken."""
        if name in self._tensors:
            raise ValueError(f"{name[:60]!r}: the unit has such a tensor")
        if start[0] == "values":
            self._tensors[name] = GraphTensor(name, shape, kind, "values", values=start[1])
        else:
            self._tensors[name] = GraphTensor(name, shape, kind, *start)
        return TensorName(name)

    def call(self, operator: str, *positional: Any, mode: Mode = "always", **named: Any) -> Var:
        """A line with one result. Arguments are as in ATen; a number stands for a list where ATen allows it.

        Raises ValueError: no such operator, or arguments that do not fit, with the line.
        """
        (result,) = self._add(operator, positional, named, mode)
        return result

    def calls(self, operator: str, *positional: Any, **named: Any) -> tuple[Var, ...]:
        """A line with several results. Raises ValueError as `call` does."""
        return self._add(operator, positional, named, "always")

    def graph(self) -> UnitGraph:
        """What was written. Raises ValueError: no result was set, or a tensor is read by no line."""
        if self.result is None:
            raise ValueError("no result was set")
        nodes = tuple(line + " if training" * (mode == "counting") for line, mode in self._lines)
        steady = tuple(line for line, mode in self._lines if mode == "always")
        differs = any(mode == "training" for _, mode in self._lines)
        takes: Literal["float32", "int64"] = "int64" if self.x.value.dtype == "int64" else "float32"
        tensors = tuple(self._tensors.values())
        return UnitGraph("graph", nodes, self.result.name, tensors, steady if differs else (), takes)

    def _add(self, operator: str, positional: tuple[Any, ...], named: dict[str, Any], mode: Mode) -> tuple[Var, ...]:
        if operator not in ATEN:
            raise ValueError(f"{operator[:40]!r} is no operator that a unit can hold")
        kind = ATEN[operator]
        words = [value_text(_written(value)) for value in positional]
        words += [f"{name}={value_text(_written(value))}" for name, value in named.items()]
        line = f"{operator}({', '.join(words)})"
        try:
            bound = kind.bind(
                [self._bound(value) for value in positional], {k: self._bound(v) for k, v in named.items()}
            )
            given = kind.rule(**bound)
        except ValueError as error:
            raise LineFault(line, str(error)) from None
        places = [argument.name for argument in kind.arguments]
        arguments = dict(zip(places, positional, strict=False)) | named
        written = arguments.get(kind.overwrites or "")
        if isinstance(written, Var) and written.name in self._shares:
            raise ValueError(f"{line[:200]}: writes into the unit's input, which is the caller's")
        results = given if isinstance(given, tuple) else (given,)
        is_tensors = isinstance(written, TensorName)  # a counter moves on: nobody reads the result
        variables = tuple(Var("_" if is_tensors else self._name(operator), value) for value in results)
        self._lines.append((f"{', '.join(each.name for each in variables)} = {line}", mode))
        aliased = arguments.get(kind.alias or "")
        if any(isinstance(each, Var) and each.name in self._shares for each in _items(aliased)):
            self._shares.update(each.name for each in variables)
        return variables

    def _bound(self, value: Any) -> Any:
        match value:
            case Var():
                return value.value
            case TensorName(name):
                tensor = self._tensors[name]
                return Value(tensor.shape, "int64" if tensor.kind == "counter" else "float32")
            case Training():
                return True
            case Batch(times):
                return times * SAMPLES
            case list() | tuple():
                return [self._bound(item) for item in value]
        return value

    def _name(self, operator: str) -> str:
        """As the operator, with a number where that is taken."""
        found = re.match(r"\w+", operator)
        base = found[0].strip("_") if found is not None else operator
        while True:
            count = self._counts.get(base, 0)
            self._counts[base] = count + 1
            name = f"{base}_{count}" if count else base
            if name not in self._taken:
                self._taken.add(name)
                return name


def _written(value: Any) -> Any:
    if isinstance(value, Var):
        return Name(value.name)
    return [_written(item) for item in value] if isinstance(value, list | tuple) else value


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


class ChainBuilder:
    """Writes units one behind another."""

    def __init__(self, shape: Shape, dtype: str = "float32") -> None:
        """`shape` is that of one sample of the model's input."""
        self.shape = shape
        """What the next unit gets, per sample."""
        self.units: list[Unit] = []
        """Those written."""
        self._dtype = dtype

    @contextmanager
    def unit(self, name: str) -> Iterator[GraphBuilder]:
        """The next unit; what is set as its `result` goes to the one behind.

        Raises ModelError naming the unit: a line that does not fit what comes in.
        """
        builder = GraphBuilder(self.shape, self._dtype)
        try:
            yield builder
            self.units.append(Unit(name, (builder.graph(),)))
        except ValueError as error:
            raise ModelError(f"{name}: {error}", unit=len(self.units)) from None
        assert builder.result is not None
        self.shape, self._dtype = builder.result.shape[1:], builder.result.value.dtype
