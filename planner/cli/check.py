"""`neuroflux check`: what is wrong with a network's description, and where; or what it amounts to."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from planner.cli import options
from planner.cli.output import print_error, print_note, print_result
from planner.cli.subject import check_length
from planner.errors import InputError

_MOST_SHOWN = 20
"""Faults told one by one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .json description")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one line about a description that holds, or a line for each fault."""
    from planner.model.flops import model_flops
    from planner.model.load import model_faults, model_from_json
    from planner.model.shapes import model_sizes
    from planner.operators.base import show
    from planner.schema.codec import read_json

    if arguments.model.suffix == ".onnx":
        raise InputError(f"{arguments.model}: no description; `neuroflux describe` says whether an ONNX file comes in")
    check_length(arguments.model)
    value = read_json(arguments.model)
    if found := model_faults(value):
        return _tell(arguments.model, found, arguments.json)
    model = model_from_json(value)
    sizes = model_sizes(model)
    parameters = sum(unit.parameters for unit in sizes)
    adds = model_flops(model)
    output = sizes[-1].output
    if arguments.json:
        facts = {
            "name": model.name,
            "units": len(sizes),
            "parameters": parameters,
            "flops": adds,
            "output": list(output),
        }
        print_result(json.dumps(facts, ensure_ascii=False))
    else:
        amounts = f"{parameters:,} parameters, {adds:,} multiply-adds per sample"
        print_result(f"{model.name}: {len(sizes)} units, {amounts}, output {show(output)}")
    return 0


def _tell(path: Path, found: list[InputError], as_json: bool) -> int:
    lines = [str(fault) for fault in found]
    if as_json:
        print_result(json.dumps({"error": lines[0], "exit_code": 2, "errors": lines}, ensure_ascii=False))
    print_error(f"{path}: {lines[0]}", InputError.exit_code, False)
    for line in lines[1:_MOST_SHOWN]:
        print_note(f"neuroflux: {path}: {line}")
    if len(lines) > _MOST_SHOWN:
        print_note(f"and {len(lines) - _MOST_SHOWN} more")
    return InputError.exit_code
