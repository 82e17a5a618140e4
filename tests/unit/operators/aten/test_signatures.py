"""Signatures are ATen's own: torch is the judge."""

from __future__ import annotations

import re
from typing import Any

import torch

from planner.operators.aten.base import Argument
from planner.operators.aten.kinds import ATEN


def torch_operator(name: str) -> Any:
    """The operator of that name, as the interpreter finds it."""
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _kind(argument: Any) -> str:
    """As signatures write it."""
    kind = str(argument.real_type).replace("SymInt", "int").replace("number", "Scalar")
    kind = re.sub(r"List\[(.*?(?:\[\w*\])?)\]", lambda found: f"{found[1]}[{argument.N or ''}]", kind)
    return re.sub(r"Optional\[(\w+(?:\[\d*\])?)\]", r"\1?", kind)


def _theirs(argument: Any) -> Argument:
    kind = _kind(argument)
    planned = kind.rstrip("?") not in ("Layout", "Device", "MemoryFormat", "Generator")
    default = argument.default_value if argument.has_default_value() and planned else None
    return Argument(argument.name, kind, not argument.has_default_value(), default, argument.kwarg_only)


def test_arguments_are_torchs() -> None:
    for name, operator in ATEN.items():
        assert operator.name == name
        assert list(operator.arguments) == [_theirs(argument) for argument in torch_operator(name)._schema.arguments]


def test_results_and_marks_are_torchs() -> None:
    for name, operator in ATEN.items():
        schema = torch_operator(name)._schema
        marks = {argument.name: argument.alias_info for argument in schema.arguments if argument.alias_info is not None}
        assert (name, operator.overwrites) == (name, next((at for at, info in marks.items() if info.is_write), None))
        assert not marks or (name, operator.alias) == (name, next(iter(marks)))
        assert (name, operator.results) == (name, str(schema).rpartition(" -> ")[2])
