"""`neuroflux export-run`: what a run did, for tools that show runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli.output import print_stored_result
from planner.errors import InputError, PlannerError, RunError
from planner.extras import lacks

if TYPE_CHECKING:
    from planner.report.read import RunRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the output folder of a run that is finished")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--memory-viz",
        type=Path,
        metavar="OUT.pickle",
        help="PyTorch's memory visualiser: what was measured is its device 0, what was predicted its device 1",
    )
    wanted.add_argument(
        "--perfetto", type=Path, metavar="OUT.json", help="Perfetto: bytes as counters, blocks as slices"
    )
    wanted.add_argument("--tensorboard", metavar="LOGDIR", help="TensorBoard (extra `tensorboard`)")
    wanted.add_argument("--mlflow", metavar="URI", help="MLflow, a server or a store (extra `mlflow`)")
    wanted.add_argument("--trackio", metavar="PROJECT", help="Trackio, on this machine (extra `trackio`)")
    parser.add_argument("--name", metavar="NAME", help="what to call the run there (default: its folder's name)")


def run(arguments: argparse.Namespace) -> int:
    """Write what the tool opens."""
    from planner.report.read import read_run

    for package in ("tensorboard", "mlflow", "trackio"):
        if getattr(arguments, package) is not None and (missing := lacks(package, f"--{package}")) is not None:
            raise InputError(missing)
    for target in (arguments.memory_viz, arguments.perfetto):
        if target is not None:
            from planner.system.files import check_target

            check_target(target)
    record = read_run(arguments.folder)
    if not record.samples:
        raise InputError(f"{arguments.folder}: has no optimizer step to show")
    print_stored_result(_write(arguments, record, arguments.name or arguments.folder.resolve().name))
    return 0


def _write(arguments: argparse.Namespace, record: RunRecord, name: str) -> str:
    from planner.export.records import memory_viz, mlflow, perfetto, tensorboard, trackio
    from planner.export.records.series import began_at

    if arguments.memory_viz is not None:
        return memory_viz.write(record, arguments.memory_viz)
    if arguments.perfetto is not None:
        return perfetto.write(record, name, arguments.perfetto)
    began = began_at(arguments.folder, record)
    try:
        if arguments.tensorboard is not None:
            return tensorboard.write(record, name, began, arguments.tensorboard)
        if arguments.mlflow is not None:
            return mlflow.write(record, name, began, arguments.mlflow, arguments.folder)
        return trackio.write(record, name, began, arguments.trackio)
    except PlannerError:
        raise
    except Exception as error:  # the other package's own kinds
        raise RunError(f"the run could not be handed over ({type(error).__name__}: {error!s:.300})") from None
