"""What `planner.run` is: the command `neuroflux run`, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from planner.data.write import write_npz
from planner.errors import ExceededError, InputError, RunError, error_of
from planner.python.datasets import Samples, class_names, mapped_part
from planner.python.run_report import RunReport
from planner.python.sources import source_of
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.data import class_difference
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.system.child import STANDARD_ERROR, ChildProcess
from planner.system.ends import End
from planner.system.files import make_folder, missing_folders, remove_empty, storage_errors, write_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn


_COMMAND = """
import io, sys
from planner.system.rlimit import die_with_parent
die_with_parent(int(sys.argv[1]))
from planner.cli.main import main
from planner.system.answers import Answers
sys.stdout = io.TextIOWrapper(Answers().stream, "utf-8")
sys.exit(main(sys.argv[2:]))
"""
"""`neuroflux`, ending with the process that has started it; its result is an answer."""


def run(
    plan: Plan,
    dataset: Samples | str | Path,
    *,
    test: Samples | None = None,
    validation: Samples | str | Path | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    seed: int | None = None,
    init: nn.Module | Mapping[str, Tensor] | str | Path | None = None,
    exit_tolerance: float | None = 0.5,
    compare: Literal["backprop"] | None = None,
    resume: bool = False,
    any_device: bool = False,
    ignore_limit: bool = False,
    quiet: bool = False,
) -> RunReport:
    """Train as a plan says, within its budget, and export the network that comes out.

    The run is the command `neuroflux run` in a process of its own, since this one, with torch and whatever else in it,
    is none that a budget could hold. It ends when this one does. Ctrl-C lets it save first.

    A data set of this program is written down once, one sample in memory at a time, into an .npz file in a temporary
    folder within `out`, for the training process shares no memory with this one and never unpickles anything. That
    takes a byte for each value, and is gone when this returns; where this process is killed, it stays. A random
    transformation is drawn once.

    Args:
        plan: what `plan` found.
        dataset: pairs of input and label, or what `neuroflux run --data` takes: "sample", "fashion-mnist", or a path.
            Pairs come from a map-style data set, two arrays, a DataLoader (of whose data set they are), a Hugging Face
            data set (columns are taken by their names), or whatever can be iterated over, as a generator function or an
            `IterableDataset`: that is read once, into a file. An image is a tensor, an array or a Pillow image of the
            size that the model takes (others are resized where the plan says so): 8-bit values, or floats from 0 to 1,
            which are rounded to 8 bits; the run normalises them. Where the model takes float32 or tokens, numbers go in
            as they are. A label is what the plan's task has: a class's number from 0, or numbers, flags, a mask
            (docs/tasks.md); an autoencoder needs none. An attribute `classes`, a list of names, as torchvision's have,
            says what classes mean.
        test: another data set to measure on; none: a tenth of every class is held out for that. A data set that is
            named has a test part of its own.
        validation: another data set to choose an exit by, a path where `dataset` is one; none: a tenth of the training
            samples is held out for that.
        out: the output folder; none: runs/<first 12 digits of the plan's id>.
        epochs: passes over the data instead of the plan's.
        max_steps: most optimizer steps of each block, for a short run.
        seed: of every random stream, instead of the plan's.
        init: weights to begin with: the module that the plan was made of, its state dict, a file of one (safetensors,
            or torch's .pt and .pth), or a run's output folder. Tensors are matched by name and shape; the report says
            which began at random.
        exit_tolerance: points of accuracy that the smallest exit kept may lose to the best, on a tenth of the training
            samples that is held out to choose both by; none holds nothing out.
        compare: "backprop" trains the same network by backpropagation besides, afterwards and outside the budget, and
            `report.comparison` says by how many points it is better, or why there is no telling.
        resume: go on with a run that was stopped, from the same samples.
        any_device: run a plan that was made for another device.
        ignore_limit: run a plan whose budget is above the memory limit of the container that this is in.
        quiet: show no progress.

    Returns:
        What the run did; it also lies in `out`, with the trained network.

    Raises:
        ExceededError: the run has ended above its budget. Its `report` says when and by how much; the trained network
            lies in `out` as ever.
        InfeasibleError: the device has too little memory for the plan, or its container too low a limit.
        InputError: an argument, the plan or a sample is wrong; a sample is named by its index. Nothing is left behind.
        InterruptedRunError: it was stopped; `resume=True` goes on.
        StorageError: nothing can be written to `out`.
        RunError: the run failed.

    Example:
        >>> report = planner.run(found, torchvision.datasets.FashionMNIST("data"), out="runs/first")
        >>> report.within_budget
        True
        >>> report.load_into(network)  # the trained weights, under the module's own names
    """
    folder = Path("runs") / plan.id[:12] if out is None else Path(out)
    given = {"--epochs": epochs, "--max-steps": max_steps, "--seed": seed}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    options += ["--exit-tolerance", "none" if exit_tolerance is None else str(exit_tolerance)]
    options += [] if compare is None else ["--compare", compare]
    flags = {"--resume": resume, "--any-device": any_device, "--ignore-limit": ignore_limit, "--quiet": quiet}
    options += [name for name, wanted in flags.items() if wanted]
    made = missing_folders(folder)
    try:
        return _run_in(folder, plan, dataset, {"test": test, "validation": validation}, init, options, quiet)
    finally:
        remove_empty(made)  # where the run came to nothing


def _run_in(
    folder: Path,
    plan: Plan,
    dataset: Samples | str | Path,
    others: Mapping[str, Samples | str | Path | None],
    init: nn.Module | Mapping[str, Tensor] | str | Path | None,
    options: list[str],
    quiet: bool,
) -> RunReport:
    """Write down what the run needs, in a folder within `folder` that goes again, and run."""
    make_folder(folder)
    with storage_errors(folder):
        scratch = tempfile.TemporaryDirectory(prefix="dataset-", dir=folder)
    with scratch as into:
        if init is not None:
            from planner.python.weights import initial_file  # brings torch

            options = [*options, "--init", str(initial_file(init, Path(into)))]
        validation = others["validation"]
        if isinstance(dataset, str | Path) and isinstance(validation, str | Path):
            options = [*options, "--validation", str(validation)]
            others = {**others, "validation": None}
        data = _written(plan, dataset, others, Path(into))
        plan_file = Path(into) / "plan.json"
        write_atomically(plan_file, to_json(plan))
        words = ["run", str(plan_file), "--data", data, "--out", str(folder), "--json", *options]
        return RunReport.of(_run_command(words, quiet), folder)


def _written(
    plan: Plan,
    dataset: Samples | str | Path,
    others: Mapping[str, Samples | str | Path | None],
    scratch: Path,
) -> str:
    """The name or path of the data, after it was written down where it is a program's own."""
    for name, each in others.items():
        if isinstance(each, str | Path) and not isinstance(dataset, str | Path):
            raise InputError(f"{name}: a path goes with data that is a path; give all as data sets")
    labelled = plan.model.task.labels_from != "none"
    given = {name: source_of(each, name, labelled=labelled) for name, each in others.items() if each is not None}
    if isinstance(dataset, str | Path):
        for name in given:
            raise InputError(f"{name}: data that is named has parts of its own; give all as data sets, or none")
        return str(dataset)
    if "validation" in given and "test" not in given:
        raise InputError("validation: it is given beside test=, since without one it is what would be tested on")
    source, resize = source_of(dataset, "dataset", labelled=labelled), plan.shorter_side or plan.resize is not None
    parts = [mapped_part(source, plan.model, "", "dataset", resize, scratch)]
    parts += [mapped_part(each, plan.model, f"{name}_", name, resize, scratch) for name, each in given.items()]
    path = scratch / "data.npz"
    write_npz(path, plan.model.input, parts, _names(plan, source, given), plan.model.input_dtype)
    return str(path)


def _names(plan: Plan, dataset: object, others: Mapping[str, object]) -> tuple[str, ...]:
    """What the classes are called. Raises InputError where training and other samples call them otherwise."""
    names = class_names(dataset, plan.model.classes)
    for part, other in others.items():
        found = class_names(other, plan.model.classes)
        if names and found and names != found:
            raise InputError(
                f"{part}: {class_difference(names, found, 'those of the set to train on')} than the training samples'"
            )
    return names


def _run_command(words: list[str], quiet: bool) -> Report:
    """The report that `neuroflux run` prints. Raises the error that it names."""
    stderr = subprocess.DEVNULL if quiet or sys.__stderr__ is None else STANDARD_ERROR
    with ChildProcess(["-c", _COMMAND, str(os.getpid()), *words], stderr) as child:
        process = child.process
        try:
            answer = child.answers.read()
            process.wait()
        except BaseException:  # whatever it is, the run saves before it goes on its way
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    try:
        value = parse_json(answer)
    except InputError:
        raise RunError(f"neuroflux run was {End(process.returncode).explained}, unexpectedly") from None
    if "schema" in value:  # the run has ended, within its budget or above it
        report = decode(Report, value)
        if not report.within_budget:
            raise ExceededError(report.exceeded, report)
        return report
    raise error_of(process.returncode, value["error"], value.get("minimum_bytes"))
