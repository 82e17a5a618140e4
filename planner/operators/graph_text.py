"""The lines of a unit graph: how they are written and read. No torch here.

A node is one line of text:

    a = conv2d(x, $conv1.weight, none, [2, 2], [3, 3])
    b = batch_norm(a, $bn1.weight, $bn1.bias, $bn1.running_mean, $bn1.running_var, training, 0.1, 1e-05, true)
    _ = add_.Tensor($bn1.num_batches_tracked, 1) if training
    c = relu_(b)
    left, right = chunk(c, 2, 1)

Left of `=` are the names of the results (`_` for one that nobody reads), right of it an operator of
`planner.operators.aten` and its arguments: positional ones in ATen's order, then `name=value`. A value is the unit's
input `x`, a result, a `$tensor` of the unit, a number, `true`, `false`, `none`, 'text', `training` (whether the unit is
in training mode), `batch` (the number of samples) or a multiple of it (`49*batch`), or a list of values. A node that
ends in `if training` is left out in evaluation. Nodes stand in the order in which they run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planner.operators.aten.kinds import ATEN

INPUT = "x"
"""What a graph calls the unit's input."""


@dataclass(frozen=True, slots=True)
class Name:
    """A value computed before, or the input."""

    name: str


@dataclass(frozen=True, slots=True)
class TensorName:
    """A tensor of the unit."""

    name: str


@dataclass(frozen=True, slots=True)
class Training:
    """Whether the unit is in training mode."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A multiple of the number of samples."""

    times: int


@dataclass(frozen=True, slots=True)
class Node:
    """One line of a graph."""

    results: tuple[str, ...]
    operator: str
    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    training_only: bool
    line: int = 0
    """Its place among the graph's lines."""

    def values(self) -> Iterator[Any]:
        """Its arguments, those within lists one by one."""
        for value in (*self.positional, *self.named.values()):
            yield from flat(value)


def flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from flat(item)
    else:
        yield value


_TOKEN = re.compile(
    r"\s*(?:(?P<tensor>\$[\w.-]+)|(?P<number>-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf))(?![\w.])|(?P<name>[A-Za-z_][\w.]*)"
    r"|'(?P<text>[^'\\]*)'|(?P<mark>[=(),\[\]*]))"
)
WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None, "training": Training(), "batch": Batch(1)}
"""Names that are no result's."""


def value_text(value: Any) -> str:
    """A value as lines write it. Raises ValueError for what cannot be written."""
    match value:
        case Name(name):
            return name
        case TensorName(name):
            return f"${name}"
        case Training():
            return "training"
        case Batch(times):
            return "batch" if times == 1 else f"{times}*batch"
        case list() | tuple():
            return f"[{', '.join(value_text(item) for item in value)}]"
        case bool() | None:
            return str(value).lower()
        case float() if math.isnan(value):
            raise ValueError("computes with NaN")
        case int() | float():
            return repr(value)
        case str() if "'" not in value and "\\" not in value:
            return f"'{value}'"
    raise ValueError(f"gets {value!r:.60}, which cannot be written")


class _Reader:
    """The tokens of one line, one after another."""

    def __init__(self, line: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._columns: list[int] = []
        at = 0
        while at < len(line.rstrip()):
            found = _TOKEN.match(line, at)
            if found is None or found.lastgroup is None:
                raise ValueError(f"column {at + 1}: cannot be read from {line[at : at + 20]!r} on")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            self._columns.append(found.start(found.lastgroup) + 1)
            at = found.end()
        self._columns.append(at + 1)
        self._at = 0

    def fault(self, problem: str, back: int = 0) -> ValueError:
        """An error at the next token, or at one before it."""
        place = min(self._at - back, len(self._columns) - 1)
        return ValueError(f"column {self._columns[place]}: {problem}")

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self._at + ahead
        return self._tokens[place] if place < len(self._tokens) else ("end", "its end")

    def take(self, kind: str = "", text: str = "") -> str:
        """The next token, of that kind and text. Raises ValueError for another."""
        found = self.peek()
        if (kind and found[0] != kind) or (text and found[1] != text):
            raise self.fault(f"{text or 'a ' + kind} is needed, not {found[1][:40]!r}")
        self._at += 1
        return found[1]

    def value(self, depth: int = 0) -> Any:
        kind, text = self.peek()
        self._at += 1
        match kind:
            case "tensor":
                return TensorName(text[1:])
            case "text":
                return text
            case "name":
                return WORDS.get(text, Name(text))
            case "number":
                return self._number(text)
        if text != "[" or depth > 1:
            raise self.fault(f"a value is needed, not {text[:40]!r}", back=1)
        found = []
        while self.peek()[1] != "]":
            found.append(self.value(depth + 1))
            if self.peek()[1] != "]":
                self.take("mark", ",")
        self.take("mark", "]")
        return found

    def _number(self, text: str) -> Any:
        number = int(text) if re.fullmatch(r"-?\d{1,19}", text) else float(text)
        if self.peek() != ("mark", "*"):
            return number
        self._at += 1
        self.take("name", "batch")
        if not isinstance(number, int):
            raise self.fault("batch can be taken a whole number of times only", back=1)
        return Batch(number)


def read_node(line: str, index: int = 0) -> Node:
    """A line of a graph, the `index`-th. Raises ValueError: what is wrong, and in which column."""
    reader = _Reader(line)
    results = [reader.take("name")]
    while reader.peek()[1] == ",":
        reader.take()
        results.append(reader.take("name"))
    reader.take("mark", "=")
    operator = reader.take("name")
    if operator not in ATEN:
        raise reader.fault(_no_operator(operator), back=1)
    positional, named = _arguments(reader)
    training_only = reader.peek() == ("name", "if")
    if training_only:
        reader.take()
        reader.take("name", "training")
    if reader.peek()[0] != "end":
        raise reader.fault(f"goes on behind its arguments with {reader.peek()[1][:40]!r}")
    return Node(tuple(results), operator, positional, named, training_only, index)


def _no_operator(name: str) -> str:
    """What is said of a name that is no operator's: those that look like it, if any."""
    from difflib import get_close_matches  # not in memory where graphs are run

    near = get_close_matches(name[:40], ATEN, n=3, cutoff=0.7)
    right = f"{' or '.join(near)} is" if near else "docs/descriptions.md lists those that are"
    return f"{name[:40]!r} is no operator that a unit can hold; {right}"


def _arguments(reader: _Reader) -> tuple[tuple[Any, ...], dict[str, Any]]:
    reader.take("mark", "(")
    positional: list[Any] = []
    named: dict[str, Any] = {}
    while reader.peek()[1] != ")":
        if reader.peek()[0] == "name" and reader.peek(1) == ("mark", "="):
            name = reader.take()
            reader.take()
            if name in named:
                raise reader.fault(f"{name} is given twice", back=2)
            named[name] = reader.value()
        elif named:
            raise reader.fault("an argument without a name stands behind one with a name")
        else:
            positional.append(reader.value())
        if reader.peek()[1] != ")":
            reader.take("mark", ",")
    reader.take("mark", ")")
    return tuple(positional), named
