"""`neuroflux report`: what a run did beside what its plan said."""

from __future__ import annotations

import argparse
from pathlib import Path

from planner.cli import options
from planner.cli.output import print_note, print_result
from planner.document import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run's output folder")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison, draw memory.svg into the folder, and write both as report.html."""
    from planner.report.page import write_page
    from planner.report.plot import draw_memory
    from planner.report.read import read_run
    from planner.report.run_tables import report_table

    record = read_run(arguments.folder)
    picture = arguments.folder / "memory.svg"
    draw_memory(record, picture)
    page = arguments.folder / "report.html"
    write_page(record, picture.read_text(encoding="utf-8"), page)
    print_result(to_json(record.report) if arguments.json else report_table(record.report, record.plan))
    print_note(f"memory against time: {picture}\nall of it on a page: {page}")
    return 0
