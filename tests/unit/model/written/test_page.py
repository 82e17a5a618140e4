"""`docs/descriptions.md`: its lists are the registries', and its examples hold and train."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema_rs
import pytest
import torch
from torch import nn

from planner.model.build import build_unit
from planner.model.load import model_from_json
from planner.model.shapes import model_sizes
from planner.model.written.expand import WrittenModel
from planner.model.written.layers import LAYERS
from planner.operators import aten
from planner.operators.aten.kinds import ATEN
from planner.schema.json_schema import json_schema

PAGE = (Path(__file__).parents[4] / "docs" / "descriptions.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, Any] = {
    value["name"]: value for value in map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
}


def layer_lines() -> list[str]:
    """A line for each kind of layer: its names, its fields with their defaults, what it is."""
    found = ["| layer | fields | |", "| --- | --- | --- |"]
    for kind in LAYERS:
        fields = []
        for field in dataclasses.fields(kind)[1:]:
            default = "" if field.default is dataclasses.MISSING else f" = {shown(field.default)}"
            fields.append(f"`{field.name}`{default}")
        names = " ".join(f"`{op}`" for op in get_args(get_type_hints(kind)["op"]))
        said = (inspect.getdoc(kind) or "").partition("\n")[0]
        found.append(f"| {names} | {', '.join(fields)} | {said} |")
    return found


def shown(value: Any) -> str:
    return json.dumps(value).replace("1e-05", "1e-5").replace("1e-06", "1e-6")


def operator_lines() -> list[str]:
    """A line for each family: its operators, with `_` in brackets for those that have a form in place."""
    found = ["| family | operators |", "| --- | --- |"]
    for module in pkgutil.iter_modules(aten.__path__):
        names: dict[str, Any] = getattr(importlib.import_module(f"{aten.__name__}.{module.name}"), "OPERATORS", {})
        pairs = {name: re.sub(r"^(\w+?)(\.|$)", r"\1_\2", name) for name in names}
        written = [
            re.sub(r"^(\w+?)(\.|$)", r"\1(_)\2", name) if pairs[name] in names else name
            for name in sorted(names)
            if name not in pairs.values()
        ]
        if written:
            found.append(f"| {module.name} | {', '.join(f'`{name}`' for name in written)} |")
    return found


@pytest.mark.parametrize("lines", [layer_lines, operator_lines])
def test_the_lists_are_those_of_the_code(lines: Any) -> None:
    assert "\n".join(lines()) in PAGE, "the table in docs/descriptions.md has to be this:\n" + "\n".join(lines())


def test_every_operator_is_listed() -> None:
    listed = set(re.findall(r"`([\w.()]+)`", "\n".join(operator_lines())))
    every = {name.replace("(_)", form) for name in listed for form in ("", "_")}
    assert set(ATEN) <= every


def test_there_are_the_three_usual_networks() -> None:
    assert list(EXAMPLES) == ["groupnorm-cnn", "squeeze-excitation", "tiny-transformer"]
    written = json_schema("model", WrittenModel)
    for value in EXAMPLES.values():
        jsonschema_rs.Draft202012Validator(written).validate(value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_trains(name: str) -> None:
    model = model_from_json(EXAMPLES[name])
    generator = torch.Generator().manual_seed(0)
    units, shape = [], tuple(model.input)
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        units.append(build_unit(unit, shape, generator))
        shape = sizes.output
    network = nn.Sequential(*units)
    images = torch.rand((8, *model.input), generator=generator)
    labels = torch.arange(8) % model.classes
    torch.manual_seed(0)
    before = nn.functional.cross_entropy(network(images), labels)
    before.backward()  # type: ignore[no-untyped-call]  # as torch has it
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    torch.optim.SGD(network.parameters(), lr=0.01).step()
    torch.manual_seed(0)  # what is dropped is the same
    assert nn.functional.cross_entropy(network(images), labels) < before
