"""`neuroflux evaluate`: accuracy and throughput of an exported model. This process counts in the budget."""

from __future__ import annotations

import argparse

from planner.cli import options
from planner.cli.output import print_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    options.take_negative_sizes(parser)
    options.add_exported(parser)
    parser.add_argument(
        "--data",
        required=True,
        metavar="D",
        help="sample, fashion-mnist, or a path; its test part is used, or the tenth that training leaves out",
    )
    parser.add_argument(
        "--budget",
        type=options.size("budget"),
        metavar="B",
        help="memory that must be enough, everything resident counted (default: not limited)",
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure the model and print what was found."""
    from planner.cli.line import DataProgress
    from planner.runner.supervise.evaluate import evaluate
    from planner.schema.codec import to_json

    with DataProgress() as shown:
        found = evaluate(arguments.model, arguments.data, arguments.budget, shown)
    if arguments.json:
        print_result(to_json(found))
    else:
        from planner.report.run_tables import evaluation_table

        print_result(evaluation_table(found))
    return 0
