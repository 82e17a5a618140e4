"""`neuroflux export`: a trained model in the format of other tools. Not held to the run's budget."""

from __future__ import annotations

import argparse
from pathlib import Path

from planner.cli import options
from planner.cli.output import print_stored_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    options.add_exported(parser)
    parser.add_argument(
        "--onnx",
        required=True,
        type=Path,
        metavar="OUT.onnx",
        help="the file to write; images go in as (value / 255 - 0.5) / 0.25 of their 8-bit values, logits come out",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    from planner.export.onnx_file import write_onnx
    from planner.runner.storage.exported import find_exported
    from planner.system.files import check_target

    exported = find_exported(arguments.model)
    check_target(arguments.onnx)
    write_onnx(exported, arguments.onnx)
    print_stored_result(f"{exported.model.name}: {arguments.onnx}")
    return 0
