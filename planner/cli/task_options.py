"""What a network is trained for, as the command line says it."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from planner.errors import InputError
from planner.tasks.base import IGNORED
from planner.tasks.kinds import USUAL, AnyTask, make_task
from planner.tasks.regression import RegressionLoss

if TYPE_CHECKING:
    from planner.schema.model import Model


def add_task(group: argparse._ActionsContainer) -> None:
    """`--task`, and what there is to say of one."""
    group.add_argument(
        "--task",
        choices=tuple(USUAL),
        help="what the network is for, and so what data has to be labelled with (default: what its description says, "
        "or classification)",
    )
    group.add_argument("--loss", choices=get_args(RegressionLoss), help="what a regression minimises (default: mse)")
    group.add_argument(
        "--label-smoothing", type=_number, metavar="X", help="part of a class that is spread over all, 0 to below 1"
    )
    group.add_argument(
        "--class-weights", type=_numbers, metavar="X,X…", help="how much a sample of each class counts in the loss"
    )
    group.add_argument(
        "--ignore-index",
        type=_ignored,
        metavar="N|none",
        help=f"what masks of a segmentation say of pixels of no class (default: {IGNORED})",
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number, for instance 0.1") from None


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in text.split(","))


def _ignored(text: str) -> int:
    """A number in a mask, or -1 for `none`."""
    if text.strip().lower() == "none":
        return -1
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or int(text) > 255:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is neither a number from 0 to 255 nor `none` (ignore-index)")
    return int(text)


def task_from(arguments: argparse.Namespace, usual: AnyTask) -> AnyTask:
    """The task asked for; `usual` is what a description says. Raises InputError."""
    given = {name: getattr(arguments, name) for name in ("loss", "label_smoothing", "class_weights")}
    settings = {name: value for name, value in given.items() if value is not None}
    if arguments.ignore_index is not None:
        settings["ignore_index"] = None if arguments.ignore_index < 0 else arguments.ignore_index
    try:
        return make_task(arguments.task, settings, usual)
    except ValueError as error:
        raise InputError(f"--task: {error}") from None


def for_task(model: Model, task: AnyTask) -> Model:
    """The same network for another task. Raises InputError where it gives something else."""
    from planner.model.shapes import model_sizes

    if task == model.task:
        return model
    try:
        changed = replace(model, task=task)
    except ValueError as error:
        raise InputError(f"{model.name}, --task {task.kind}: {error}") from None
    model_sizes(changed)
    return changed
