"""What an ATen operator says of itself: its signature, and the shapes that it gives. No torch here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from planner.operators.base import Shape

FLOATS: Final = ("float32", "float64", "float16", "bfloat16")
"""Types that a gradient can have."""

DTYPES: Final = (*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")
"""Types of a tensor in a unit graph."""

MAX_RESULTS: Final = 4096
"""Most tensors that one operator makes: steps of a sequence that is unbound, say."""

ATEN_DIMENSIONS: Final = 64
"""Most dimensions that ATen takes in passing; what a unit graph keeps has at most `limits.MAX_RANK`."""

_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor, as far as planning has to know it. Its shape includes the samples."""

    shape: Shape
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.dtype} {show_shape(self.shape)}"


class StricterThanTorch(ValueError):
    """Arguments that torch would take, and a unit graph does not: the message says why."""


Bound = int | float | bool | str | None | Value | Sequence["Bound"]
"""What an argument can be: a literal, a tensor, or a list of them."""

Rule = Callable[..., Value | tuple[Value, ...]]
"""From an operator's arguments, by name and defaults filled in, to its results. Raises ValueError where they do not
fit: what is wrong, without the place."""

Count = Callable[..., int]
"""From an operator's first result, by place, and its arguments, by name, to its multiply-adds."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an operator."""

    name: str
    kind: str
    """As ATen writes it, without aliases: `Tensor`, `Tensor?`, `Tensor[]`, `int`, `int[2]`, `float?`, `str`, …"""
    required: bool
    default: Any = None
    keyword_only: bool = False

    @property
    def takes_tensors(self) -> bool:
        return self.kind.startswith("Tensor")


class AtenOperator:
    """An operator of `torch.ops.aten`, of which unit graphs may be made."""

    __slots__ = (
        "_count",
        "_parsed",
        "_returned",
        "_rule",
        "depends_on_batch",
        "extracts_features",
        "kernels",
        "name",
        "signature",
        "takes_numbers",
    )

    def __init__(
        self,
        signature: str,
        rule: Rule,
        *,
        extracts_features: bool = False,
        depends_on_batch: bool = False,
        takes_numbers: bool = False,
        alias: str | None = None,
        count: Count | None = None,
        kernels: tuple[str, ...] = (),
    ) -> None:
        """An operator.

        Args:
            signature: as `torch.ops.aten.<name>._schema` shows it, without `aten::`; `SymInt` may be `int`, and a
                default one number for the whole list.
            rule: its results' shapes.
            extracts_features: whether a unit with it can be trained behind a cut with profit, as with a convolution.
            depends_on_batch: whether a sample's result depends on the samples beside it.
            takes_numbers: whether a number may stand for any tensor but the first.
            alias: the argument that it may return although its signature does not say so.
            count: its multiply-adds; None for what works element by element or moves numbers, which counts as nothing.
            kernels: arguments that are multiplied with numbers, or looked up in, as windows, matrices and tables are:
                parameters that come in there decay (`planner.operators.decay`).
        """
        self.signature = signature
        self.name = signature.partition("(")[0]
        """With its overload, unless that is `default`: `add.Tensor`, `conv2d`."""
        self._rule = rule
        self._returned = alias
        self._count = count
        self._parsed: _Parsed | None = None
        self.takes_numbers = takes_numbers
        self.extracts_features = extracts_features
        self.depends_on_batch = depends_on_batch
        self.kernels = kernels

    @property
    def _read(self) -> _Parsed:
        """Its signature, taken apart where it is asked for: a network has a tenth of the operators."""
        if self._parsed is None:
            self._parsed = _parse(self.signature)
        return self._parsed

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return self._read[0]

    @property
    def overwrites(self) -> str | None:
        """The argument that it writes its result into."""
        return self._read[1]

    @property
    def alias(self) -> str | None:
        """The argument whose memory its result may share."""
        return self._read[2] or self._returned

    @property
    def results(self) -> str:
        """As ATen writes them."""
        return self.signature.rpartition(" -> ")[2]

    def bind(self, positional: Sequence[Bound], named: Mapping[str, Bound]) -> dict[str, Bound]:
        """Arguments by name, defaults filled in, lists given their length. Raises ValueError for what is not one."""
        places = [argument for argument in self.arguments if not argument.keyword_only]
        if len(positional) > len(places):
            raise ValueError(f"{self.name} takes {len(places)} arguments, not {len(positional)}")
        given = {argument.name: value for argument, value in zip(places, positional, strict=False)}
        known = {argument.name for argument in self.arguments}
        for name, value in named.items():
            if name not in known:
                raise ValueError(f"{self.name} has no argument {name[:40]!r}; it has {', '.join(sorted(known))}")
            if name in given:
                raise ValueError(f"{self.name}: {name} is given twice")
            given[name] = value
        found: dict[str, Bound] = {}
        for argument in self.arguments:
            if argument.name not in given:
                if argument.required:
                    raise ValueError(f"{self.name}: {argument.name} is missing")
                found[argument.name] = argument.default
                continue
            value = given[argument.name]
            if self.takes_numbers and found and argument.kind == "Tensor" and _fits("Scalar", value):
                found[argument.name] = value
            else:
                found[argument.name] = _checked(self.name, argument, value)
        return found

    def multiply_adds(self, arguments: Mapping[str, Bound], results: Sequence[Value]) -> int:
        """How many there are in a forward with these arguments, of `bind`. Scale and shift of a normalisation count
        for each element, as fvcore counts them.
        """
        return 0 if self._count is None else self._count(results[0], **arguments)

    def rule(self, /, **bound: Any) -> Value | tuple[Value, ...]:
        """Its results, from what `bind` gave. Raises ValueError where the arguments do not fit, without the place."""
        try:
            results = self._rule(**bound)
        except OverflowError:
            raise ValueError("its numbers are too large") from None
        for result in results if isinstance(results, tuple) else (results,):
            if len(result.shape) > ATEN_DIMENSIONS:
                raise ValueError(f"its result would have {len(result.shape)} dimensions, above {ATEN_DIMENSIONS}")
            if any(not 0 <= extent < _INT64 for extent in result.shape) or math.prod(result.shape) >= _INT64:
                raise ValueError(f"its result would have shape {show_shape(result.shape)}")
        return results


_Parsed = tuple[tuple[Argument, ...], str | None, str | None]
"""Arguments; the one that is written into; the one whose memory the result may share."""


def _parse(signature: str) -> _Parsed:
    found: list[Argument] = []
    overwrites = alias = None
    keyword_only = False
    text = signature.partition("(")[2].rpartition(") -> ")[0]
    for part in re.split(r", (?![^\[]*\])", text) if text else ():
        if part == "*":
            keyword_only = True
            continue
        kind, name, equals, default = re.fullmatch(r"(.+?) (\w+)(=?)(.*)", part).groups()  # type: ignore[union-attr]  # ours match
        marked = re.search(r"\(([^)]*)\)", kind)
        if marked is not None:
            overwrites = name if "!" in marked[1] else overwrites
            alias = alias or name
        kind = re.sub(r"\([^)]*\)", "", kind).replace("SymInt", "int")
        value = literal(default) if equals and kind.partition("[")[0].rstrip("?") in _WORDS else None
        if kind.startswith(("int[", "float[")) and value is not None and not isinstance(value, list):
            value = [value] * int(re.sub(r"\D", "", kind) or 1)
        found.append(Argument(name, kind, not equals, value, keyword_only))
    return tuple(found), overwrites, alias


def _checked(operator: str, argument: Argument, value: Bound) -> Bound:
    """`value`, if it is of the argument's kind. Raises ValueError."""
    kind = argument.kind
    if kind.endswith("?"):
        if value is None:
            return None
        kind = kind[:-1]
    listed = re.fullmatch(r"(\w+\??)\[(\d*)\]", kind)
    if listed is None:
        if not _fits(kind, value):
            raise ValueError(f"{operator}: {argument.name} is {_show(value)}; {_WORDS.get(kind, kind)} is needed")
        return value
    kind, length = listed[1], listed[2]
    if length and _fits(kind, value):
        return [value] * int(length)
    if not isinstance(value, list | tuple) or not all(_fits(kind, item) for item in value):
        what = _WORDS.get(kind.rstrip("?"), kind)
        raise ValueError(f"{operator}: {argument.name} is {_show(value)}; a list is needed, each of it {what}")
    return list(value)


_WORDS = {
    "Tensor": "a tensor",
    "int": "a whole number",
    "float": "a number",
    "Scalar": "a number",
    "bool": "true or false",
    "str": "text",
    "ScalarType": f"one of {', '.join(DTYPES)}",
}


def _fits(kind: str, value: Bound) -> bool:
    if kind.endswith("?"):
        return value is None or _fits(kind[:-1], value)
    match kind:
        case "Tensor":
            return isinstance(value, Value)
        case "int":
            return type(value) is int and -_INT64 <= value < _INT64
        case "float":
            return type(value) in (int, float)
        case "Scalar":
            return type(value) in (int, float, bool)
        case "bool":
            return type(value) is bool
        case "str":
            return isinstance(value, str)
        case "ScalarType":
            return value in DTYPES
        case _:  # a device, a layout, a memory format, a generator: this is planned for any of them
            return value is None


def _show(value: Bound) -> str:
    return "a tensor" if isinstance(value, Value) else repr(value)[:60]


def show_shape(shape: Sequence[int]) -> str:
    """As Python writes it, but not without end."""
    text = str(tuple(shape)) if max(map(abs, shape), default=0) < _INT64 else "beyond any memory"
    return text if len(text) <= 200 else f"{text[:200]}…"


def literal(text: str) -> Any:
    """A default of a signature."""
    if text in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[text]
    if text.startswith("["):
        return [literal(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?[\d.]+(e-?\d+)?", text):
        return float(text)
    return text.strip("\"'")


def family(*operators: AtenOperator) -> dict[str, AtenOperator]:
    """By name."""
    return {operator.name: operator for operator in operators}


def in_place(operator: AtenOperator, names: Mapping[str, str] = MappingProxyType({})) -> AtenOperator:
    """The form of an operator that writes into its first argument: `relu_` of `relu`, `add_.Tensor` of `add.Tensor`.

    `names` has what is called otherwise than that.
    """
    before, dot, overload = operator.name.partition(".")
    name = f"{before}_{dot}{overload}"
    arguments = operator.signature.partition("(")[2].rpartition(") -> ")[0]
    rest = re.sub(r"^Tensor(\([^)]*\))? \w+", "Tensor(a!) self", arguments)
    first = arguments.partition(",")[0].rpartition(" ")[2]

    def rule(self: Value, **given: Any) -> Value:
        result = operator.rule(**{first: self}, **given)
        if not isinstance(result, Value) or result.shape != self.shape or not can_hold(self.dtype, result.dtype):
            raise ValueError(f"its result ({result}) does not fit into self ({self})")
        return self

    return AtenOperator(
        f"{names.get(name, name)}({rest}) -> Tensor(a!)",
        rule,
        extracts_features=operator.extracts_features,
        depends_on_batch=operator.depends_on_batch,
        takes_numbers=operator.takes_numbers,
        kernels=operator.kernels,
    )


def category(dtype: str) -> int:
    """0 for truth values, 1 for whole numbers, 2 for the rest: a result of a higher one fits into no lower one."""
    return 2 if dtype in FLOATS else int(dtype != "bool")


def can_hold(dtype: str, other: str) -> bool:
    """Whether a tensor of `dtype` can take a result of `other`."""
    return category(other) <= category(dtype)
