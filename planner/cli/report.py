"""`neuroflux report`: what a run did beside what its plan said."""

from __future__ import annotations

import argparse
from pathlib import Path

from planner.cli import options
from planner.cli.commands import run_command
from planner.cli.output import print_note, print_result
from planner.errors import InputError
from planner.schema.codec import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run's output folder")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison, draw memory.svg into the folder, and write both as report.html.

    Of a run that is not finished, print how far it has come.
    """
    from planner.report.page import write_page
    from planner.report.plot import draw_memory
    from planner.report.read import is_finished, read_run
    from planner.report.run_tables import report_table

    if arguments.folder.is_dir() and not is_finished(arguments.folder) and not arguments.json:
        return _unfinished(arguments.folder)
    record = read_run(arguments.folder)
    picture = arguments.folder / "memory.svg"
    page = arguments.folder / "report.html"
    try:
        draw_memory(record, picture)
    except InputError as error:
        picture.unlink(missing_ok=True)  # one that was drawn earlier would be of another state
        write_page(record, None, page, str(error))
        drawn = f"{picture.name} was not drawn: {error}"
    else:
        write_page(record, picture.read_text(encoding="utf-8"), page)
        drawn = f"memory against time: {picture}"
    print_result(to_json(record.report) if arguments.json else report_table(record.report, record.plan))
    print_note(f"{drawn}\nall of it on a page: {page}")
    return 0


def _unfinished(folder: Path) -> int:
    """Print how far a run has come, and the command that goes on with it where no process does."""
    from planner.report.read import read_unfinished
    from planner.report.run_tables import unfinished_table
    from planner.runner.protocol.job import TrainingJob
    from planner.runner.storage.sealed import read_sealed
    from planner.schema.run_folder import RunFolder
    from planner.system.locks import lock_holder

    found = read_unfinished(folder)
    holder = lock_holder(folder)
    state = "not finished, and stopped" if holder is None else f"not finished; process {holder} is at it"
    print_result(unfinished_table(found, state))
    if holder is None:
        try:
            data: str | None = read_sealed(RunFolder(folder).job, TrainingJob).data
        except InputError:
            data = None
        print_note(f"go on with:\n  {run_command(RunFolder(folder).plan, data, folder, '--resume')}")
    return 0
