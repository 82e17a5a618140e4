"""`neuroflux profile`: measure a network on this device."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from planner.cli import options
from planner.cli.measure import measured_profile
from planner.cli.output import print_note, print_result
from planner.document import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    options.add_model(parser)
    options.add_training(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="also write the profile here")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write the file."""
    from planner.report.tables import profile_table
    from planner.system.files import write_atomically

    with tempfile.TemporaryDirectory(prefix="neuroflux-") as work:
        subject = options.subject_from(arguments, Path(work))
    profile = measured_profile(subject.model, options.optimizer_from(arguments), arguments.batch, fresh=True)
    if arguments.output is not None:
        write_atomically(arguments.output, to_json(profile))
    print_result(to_json(profile) if arguments.json else profile_table(profile))
    if arguments.output is not None:
        print_note(f"written to {arguments.output}")
    return 0
