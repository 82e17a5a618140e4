"""`neuroflux check-data`: what is found in a data set and how it is parted, without training."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from planner.cli import options
from planner.cli.output import print_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("data", metavar="D", help="sample, fashion-mnist, or a path")
    options.add_validation(parser)
    options.add_reading(parser.add_argument_group("how it is read"))
    parser.add_argument(
        "--seed",
        type=options.count("seed", 0, 2**62),
        default=0,
        metavar="N",
        help="what held-out samples are drawn by (default %(default)s, as in `neuroflux plan`)",
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read all labels and headers, and print what was found."""
    from planner.cli.line import DataProgress
    from planner.data.dataset import open_data
    from planner.data.describe import describe
    from planner.data.pace import Pace
    from planner.data.records import file_bytes
    from planner.report.data_tables import data_table
    from planner.schema.codec import to_json

    resize, shorter_side = options.framing_from(arguments)
    framing = {"resize": resize, "shorter_side": shorter_side}
    reading = {"layout": arguments.layout, "validation": arguments.validation, **framing}
    with (
        DataProgress() as shown,
        tempfile.TemporaryDirectory(prefix="neuroflux-") as work,
        open_data(arguments.data, Path(work), pace=Pace(shown), task=None, **reading) as data,
    ):
        found = describe(data, arguments.seed).description
        decode = data.parts.decode_bytes
    print_result(to_json(found) if arguments.json else data_table(found, file_bytes(found), decode))
    return 0
