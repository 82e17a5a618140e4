"""`neuroflux describe`: whether a network comes in, as which units, or all that is in its way."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from planner.cli import options
from planner.cli.output import print_error, print_note, print_result, print_stored_result
from planner.cli.subject import named_model
from planner.cli.task_options import add_task, task_from
from planner.errors import InputError
from planner.tasks.kinds import CLASSIFICATION


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "model",
        metavar="M",
        help="package.module:function or file.py:function, which returns a torch.nn.Module; or a zoo name, a .json "
        "description, an .onnx file",
    )
    options.add_shape(parser, "what the network is made for, 3x32x32 for a function's")
    add_task(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the description (model/2) here")
    parser.add_argument(
        "--state-dict",
        type=Path,
        metavar="OUT.safetensors",
        help="write the weights that the function's module begins with, for `neuroflux run --init`",
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the units, write the files; or print every obstacle."""
    from planner.cli.module import describe_made, is_function
    from planner.model.importers.description import Description
    from planner.model.importers.obstacles import refusal
    from planner.schema.codec import to_json
    from planner.system.files import check_target, write_atomically

    for target in filter(None, (arguments.output, arguments.state_dict)):
        check_target(target)
    shape = arguments.input or options.USUAL_INPUT
    if is_function(arguments.model):
        task = task_from(arguments, CLASSIFICATION)
        found = describe_made(arguments.model, shape, arguments.classes, arguments.state_dict, task=task)
    elif arguments.state_dict is not None:
        raise InputError(
            f"--state-dict: {arguments.model} is no function; what has no module has no weights of its own"
        )
    else:
        found = Description.of(named_model(arguments))
    if found.model is None:
        error = refusal(found.obstacles)
        print_error(str(error), error.exit_code, False)
        if arguments.json:
            lines = [str(obstacle) for obstacle in found.obstacles]
            document = {"error": lines[0], "exit_code": error.exit_code, "errors": lines}
            print_stored_result(json.dumps(document, ensure_ascii=False))
        return error.exit_code
    if arguments.output is not None:
        write_atomically(arguments.output, to_json(found.model))
    show = print_result if arguments.output is None else print_stored_result
    show(to_json(found.model) if arguments.json else str(found))
    for target in filter(None, (arguments.output, arguments.state_dict)):
        print_note(f"written to {target}")
    return 0
