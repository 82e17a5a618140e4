"""`neuroflux export`: a trained model in the format of other tools. Not held to the run's budget."""

from __future__ import annotations

import argparse
from pathlib import Path

from planner.cli import options
from planner.cli.output import print_stored_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    options.add_exported(parser)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--onnx",
        type=Path,
        metavar="OUT.onnx",
        help="the file to write: images go in, normalised as the model's description says, and logits come out",
    )
    wanted.add_argument(
        "--state-dict",
        type=Path,
        metavar="OUT.safetensors",
        help="the full network's weights under the names of the module that it was made of, for its load_state_dict",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    from planner.export.onnx_file import write_onnx
    from planner.runner.storage.exported import find_exported, find_full, write_state
    from planner.schema.preprocessing import given_words
    from planner.system.files import check_target

    target: Path = arguments.onnx or arguments.state_dict
    exported = find_exported(arguments.model) if arguments.onnx else find_full(arguments.model)
    check_target(target)
    (write_onnx if arguments.onnx else write_state)(exported, target)
    model = exported.model
    how = (model.input_dtype, model.input, model.normalised_by, model.resize, model.shorter_side)
    called, given = given_words(*how)
    print_stored_result(f"{model.name}: {target}\n{called} go in as {given}")
    return 0
