"""What `planner.profile`, `planner.plan` and `planner.run` are: the stations one after another, from Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from planner.data.write import write_npz
from planner.errors import (
    ExceededError,
    InfeasibleError,
    InputError,
    InterruptedRunError,
    PlannerError,
    RunError,
)
from planner.limits import MAX_BATCH
from planner.profiler.profile import ProfileRequest, take_profile
from planner.python.datasets import MapDataset, mapped_part
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import DeviceKind, Dtype, Optimizer, Policy, Stored, usual_optimizer
from planner.schema.device_checks import check_device
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.request import Augment, Preference, Schedule, Scope, Strategy
from planner.schema.terms import BudgetTerms, OptimizerTerms, PlanTerms, TrainingTerms
from planner.solver.plan import make_plan
from planner.system.child import STANDARD_ERROR, ChildProcess
from planner.system.ends import End
from planner.system.files import make_folder, missing_folders, remove_empty, storage_errors, write_atomically
from planner.system.machine import probe
from planner.units import parse_bytes

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

_KINDS: tuple[Literal["sgd", "adam", "adamw"], ...] = ("sgd", "adam", "adamw")


def profile(
    model: nn.Module,
    sample: Tensor,
    *,
    classes: int | None = None,
    optimizer: str | Optimizer = "sgd",
    batch: int = TrainingTerms.batch,
    dtype: Dtype = TrainingTerms.dtype,
    device: DeviceKind = "cpu",
    max_bytes: int | str | None = None,
    max_seconds: float | None = None,
) -> Profile:
    """Measure a module that is a chain on this device. The module itself is not trained, nor changed.

    `sample` is one batch or one image, and says what the input looks like. `optimizer` is "sgd" (with momentum 0.9),
    "adam", "adamw", or an `Optimizer`. `dtype` is what units compute in: "float32" or "bfloat16". `device` is where
    tensors live: "cpu", or "cuda" for the first GPU. `max_bytes` (of that memory) and `max_seconds` bound the
    measurement. Raises ModelError where the module is no chain of known layers.
    """
    from planner.model.importers.module import import_module  # brings torch, which planning does without

    _check_batch(batch)
    _check_choice("dtype", dtype, Dtype)
    _check_choice("device", device, DeviceKind)
    chosen = _optimizer(optimizer)
    description = import_module(model, sample, classes)
    limit = None if max_bytes is None else _bytes(max_bytes, "max_bytes")
    cores = probe().cores
    request = ProfileRequest(description, chosen, batch, cores, dtype, device, max_bytes=limit, max_seconds=max_seconds)
    return take_profile(request, lambda done, total, name: None)


def plan(
    subject: Profile | nn.Module,
    second: int | str | Tensor | None = None,
    /,
    *,
    budget: int | str | None = None,
    optimizer: str | Optimizer | None = None,
    scope: Scope = BudgetTerms.scope,
    batch: int = TrainingTerms.batch,
    epochs: int = TrainingTerms.epochs,
    samples: int = TrainingTerms.samples,
    schedule: Schedule = TrainingTerms.schedule,
    seed: int = TrainingTerms.seed,
    freeze: int = TrainingTerms.freeze,
    augment: Augment = TrainingTerms.augment,
    views: int | None = TrainingTerms.views,
    dtype: Dtype | None = None,
    device: DeviceKind | None = None,
    storage: int | str | None = None,
    cache_dtype: Stored | None = PlanTerms.cache_dtype,
    strategy: Strategy = PlanTerms.strategy,
    prefer: Preference = PlanTerms.prefer,
    max_cuts: int | None = PlanTerms.max_cuts,
    linear_segments: bool = PlanTerms.linear_segments,
    allocator: Policy | None = PlanTerms.allocator,
    reserve: int | str | None = PlanTerms.reserve_bytes,
    head_time_share: float = PlanTerms.head_time_share,
    grouping_threshold: float = PlanTerms.grouping_threshold,
) -> Plan:
    """The plan that trains a network within `budget` (bytes, or text like "300MiB").

    Either `plan(profile, budget)`, with the optimizer that was profiled, or `plan(module, sample, budget=budget)` for
    any `torch.nn.Module` that is a chain of known layers: it is profiled first, with `optimizer` ("sgd" where none is
    named), as `planner.profile` does. The plan describes the network; the module's own weights are left alone.

    `schedule` is how the learning rate moves over a block's training ("cosine", "constant"); `seed` is of every random
    stream.

    The first `freeze` units are not trained: they keep the weights that `planner.run(…, init=…)` gives them.

    `augment` says what happens to images while training ("none", "crop", "flip", "crop-flip"), and `views` how many
    such passes a cache between blocks holds; none: up to 4.

    `dtype` is what units compute in ("float32", "bfloat16"), `device` where tensors live ("cpu", "cuda"); none: what
    the profile measured, else float32 and "cpu".

    `storage` is what caches between blocks may take; `cache_dtype` how they hold activations ("float32", "bfloat16",
    "uint8"); none: as units compute, or "bfloat16" where the storage does not hold the two largest so.

    `max_cuts` bounds the boundaries where gradient stops. `linear_segments` allows segments without a convolution, such
    as the classifier alone. `allocator` is "tight" or "fast"; none takes whichever is faster and fits. `reserve` is the
    part of the budget that is left free; none takes the usual one. `head_time_share` is the most that a head may add to
    a typical segment's time, `grouping_threshold` how far the micro-batches of one block differ under "neuroflux".

    Raises InfeasibleError, which carries the smallest budget that is enough, where nothing fits; ModelError where a
    module is no such chain.
    """
    budget = second if budget is None and isinstance(second, int | str) else budget
    if budget is None:
        raise InputError("budget is missing; give bytes, or text like '300MiB'")
    for name, value, choices in (
        ("scope", scope, Scope),
        ("schedule", schedule, Schedule),
        ("augment", augment, Augment),
        ("dtype", dtype or "float32", Dtype),
        ("device", device or "cpu", DeviceKind),
        ("strategy", strategy, Strategy),
        ("prefer", prefer, Preference),
        ("allocator", "tight" if allocator is None else allocator, Policy),
        ("cache_dtype", cache_dtype or "float32", Stored),
    ):
        _check_choice(name, value, choices)
    if isinstance(subject, Profile) and dtype not in (None, subject.dtype):
        raise InputError(f"dtype: the profile was taken in {subject.dtype}; take another one for {dtype}")
    if isinstance(subject, Profile) and device not in (None, subject.device.kind):
        raise InputError(f"device: the profile was taken on {subject.device.kind}; take another one for {device}")
    computed = subject.dtype if isinstance(subject, Profile) else dtype or "float32"
    chosen = _chosen_optimizer(subject, optimizer)
    try:
        terms = PlanTerms(
            budget=BudgetTerms(_bytes(budget, "budget"), scope),
            training=TrainingTerms(
                batch=batch,
                epochs=epochs,
                samples=samples,
                optimizer=OptimizerTerms.of(chosen),
                schedule=schedule,
                augment=augment,
                views=views,
                dtype=computed,
                seed=seed,
                freeze=freeze,
            ),
            storage_bytes=None if storage is None else _bytes(storage, "storage"),
            cache_dtype=cache_dtype,
            strategy=strategy,
            prefer=prefer,
            max_cuts=max_cuts,
            linear_segments=linear_segments,
            allocator=allocator,
            reserve_bytes=None if reserve is None else _bytes(reserve, "reserve"),
            head_time_share=head_time_share,
            grouping_threshold=grouping_threshold,
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    request = terms.request()
    sample: Any = second  # what is no tensor is told there
    if isinstance(subject, Profile):
        measured = subject
    else:
        measured = profile(subject, sample, optimizer=chosen, batch=batch, dtype=computed, device=device or "cpu")
    check_device(measured.device, request.budget.bytes)
    return make_plan(measured, request)


def _chosen_optimizer(subject: Profile | nn.Module, optimizer: str | Optimizer | None) -> Optimizer:
    """The one that was named; a profile's own, which is the only one that it tells anything about."""
    if not isinstance(subject, Profile):
        return _optimizer(optimizer or "sgd")
    if optimizer is not None and _optimizer(optimizer) != subject.optimizer:
        raise InputError(f"optimizer: the profile was taken with {subject.optimizer}; take another one for another")
    return subject.optimizer


def run(
    plan: Plan,
    dataset: MapDataset | str | Path,
    *,
    test: MapDataset | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    seed: int | None = None,
    init: str | Path | None = None,
    exit_tolerance: float | None = 0.5,
    resume: bool = False,
    any_device: bool = False,
    ignore_limit: bool = False,
    quiet: bool = False,
) -> Report:
    """Train as `plan` says on `dataset`, into the folder `out` (runs/<first digits of the plan's id>); its report.

    `dataset` is any map-style data set of (image, label) pairs, or what `neuroflux run --data` takes. `test` is another
    one to measure on; without it every tenth sample is held out for that. An image is a tensor, an array or a Pillow
    image of the size that the model takes: 8-bit values, or floats from 0 to 1, which are rounded to 8 bits. Values are
    normalised by the run, and a random transformation is drawn once: what the data set gives is written down once.

    That is how the samples get to the training process, which shares no memory with this one and never unpickles
    anything: they are streamed, one in memory at a time, into an .npz file in a temporary folder within `out`, and read
    from there as they are needed. The folder takes a byte for each value and is gone when this returns; where this
    process is killed, it stays. The run itself is the command `neuroflux run` in a process of its own, since this one,
    with torch and whatever else in it, is none that a budget could hold; it ends when this one does.

    The other arguments are that command's options; `resume` goes on with a run that was stopped, from the same samples,
    `any_device` runs a plan that was made for another device, `ignore_limit` one whose budget is above the memory limit
    of the container this is in. Ctrl-C lets it save first. Raises RunError,
    InterruptedRunError, StorageError, InfeasibleError where the device has too little memory for the plan, and
    InputError, which names the sample; a run that is refused leaves nothing behind. A run that has ended above its
    budget raises ExceededError: its `report` says when and by how much, and the trained network lies in `out` as ever.
    """
    folder = Path("runs") / plan.id[:12] if out is None else Path(out)
    given = {"--epochs": epochs, "--max-steps": max_steps, "--seed": seed, "--init": init}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    options += ["--exit-tolerance", "none" if exit_tolerance is None else str(exit_tolerance)]
    flags = {"--resume": resume, "--any-device": any_device, "--ignore-limit": ignore_limit, "--quiet": quiet}
    options += [name for name, wanted in flags.items() if wanted]
    made = missing_folders(folder)
    try:
        return _run_in(folder, plan, dataset, test, options, quiet)
    finally:
        remove_empty(made)  # where the run came to nothing


def _run_in(
    folder: Path,
    plan: Plan,
    dataset: MapDataset | str | Path,
    test: MapDataset | None,
    options: list[str],
    quiet: bool,
) -> Report:
    """Write down what the run needs, in a folder within `folder` that goes again, and run."""
    make_folder(folder)
    with storage_errors(folder):
        scratch = tempfile.TemporaryDirectory(prefix="dataset-", dir=folder)
    with scratch as place:
        data = _written(plan, dataset, test, Path(place))
        plan_file = Path(place) / "plan.json"
        write_atomically(plan_file, to_json(plan))
        return _run_command(["run", str(plan_file), "--data", data, "--out", str(folder), "--json", *options], quiet)


def _written(plan: Plan, dataset: MapDataset | str | Path, test: MapDataset | None, scratch: Path) -> str:
    """The name or path of the data, after it was written down where it is a program's own."""
    if isinstance(dataset, str | Path):
        if test is not None:
            raise InputError("test: data that is named has a test part of its own; give both as data sets, or none")
        return str(dataset)
    parts = [mapped_part(dataset, plan.model, "", "dataset")]
    if test is not None:
        parts.append(mapped_part(test, plan.model, "test_", "test"))
    path = scratch / "data.npz"
    write_npz(path, plan.model.input, parts)
    return str(path)


def _run_command(words: list[str], quiet: bool) -> Report:
    """The report that `neuroflux run` prints. Raises the error that it names."""
    said = subprocess.DEVNULL if quiet or sys.__stderr__ is None else STANDARD_ERROR
    with ChildProcess(["-c", _COMMAND, str(os.getpid()), *words], said) as child:
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
    if process.returncode == InfeasibleError.exit_code:
        raise InfeasibleError(value["error"], value["minimum_bytes"], "memory")
    kinds: dict[int, type[PlannerError]] = {2: InputError, 130: InterruptedRunError}
    raise kinds.get(process.returncode, RunError)(value["error"])


def _bytes(value: int | str, name: str) -> int:
    return value if isinstance(value, int) else parse_bytes(str(value), name)


def _check_choice(name: str, value: object, choices: Any) -> None:
    if value not in get_args(choices):
        raise InputError(f"{name} is {value!r}; it is one of {', '.join(get_args(choices))}")


def _check_batch(batch: int) -> None:
    if not 1 <= batch <= MAX_BATCH:
        raise InputError(f"batch is {batch}; it must lie between 1 and {MAX_BATCH}")


def _optimizer(wanted: str | Optimizer) -> Optimizer:
    """An optimizer by name, as the command line means it."""
    if isinstance(wanted, Optimizer):
        return wanted
    for kind in _KINDS:
        if wanted == kind:
            return usual_optimizer(kind)
    raise InputError(f"optimizer is {wanted!r}; it is sgd, adam, adamw, or an Optimizer")
