"""What `planner.profile`, `planner.plan` and `planner.run` are: the stations one after another, from Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from planner.data.write import write_npz
from planner.errors import ExceededError, InputError, RunError, error_of
from planner.limits import MAX_BATCH
from planner.profiler.profile import ProfileRequest, take_profile
from planner.python.datasets import MapDataset, class_names, look, mapped_part
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import CacheDtype, DeviceKind, Dtype, OptimizerConfig, OptimizerKind, Policy, usual_optimizer
from planner.schema.data import class_difference
from planner.schema.device_checks import check_device
from planner.schema.model import Model
from planner.schema.plan import Plan, with_class_names
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

_KINDS: tuple[OptimizerKind, ...] = get_args(OptimizerKind)


def profile(
    model: nn.Module,
    sample: Tensor,
    *,
    classes: int | None = None,
    optimizer: str | OptimizerConfig = "sgd",
    batch: int = TrainingTerms.batch,
    dtype: Dtype = TrainingTerms.dtype,
    device: DeviceKind = "cpu",
    max_bytes: int | str | None = None,
    max_seconds: float | None = None,
) -> Profile:
    """Measure on this device what training a network costs: bytes and seconds of every unit and head.

    The module is measured in processes of its own, from a description of its layers. It is neither trained nor changed;
    its outputs are compared with the description's. Takes minutes.

    Args:
        model: a chain of known layers; residual sums and functional calls within it are understood.
        sample: one image (channels, height, width) or a batch of them (samples, channels, height, width): what the
            input looks like. Its values do not matter.
        classes: how many classes the network tells apart; none: read off its output, with which it has to agree.
        optimizer: "sgd" (with momentum 0.9), "adam", "adamw", or an `OptimizerConfig` in full.
        batch: samples of one optimizer step. Plans for smaller batches can be made from the same profile.
        dtype: what units compute in, "float32" or "bfloat16". Weights and optimizer state are float32 in any case.
        device: where tensors live: "cpu", or "cuda" for the first GPU.
        max_bytes: most memory, of the device's, that measuring may take: bytes, or text like "2GiB"; none: 80 % of what
            is available.
        max_seconds: most time that it may take; none: 10 minutes.

    Returns:
        What was measured, for `plan`. What the limits left out is named in its `limits`, and extrapolated.

    Raises:
        ModelError: the module is no chain of known layers; the error names the layer.
        InfeasibleError: a layer does not fit in `max_bytes` even with its smallest micro-batch.
        InputError: an argument lies outside its range, torch is not installed, or the time was too short.
        RunError: a measuring process failed.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
        >>> measured = planner.profile(network, torch.zeros(1, 28, 28), batch=64)
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
    data: MapDataset | str | Path | None = None,
    optimizer: str | OptimizerConfig | None = None,
    scope: Scope = BudgetTerms.scope,
    batch: int = TrainingTerms.batch,
    epochs: int = TrainingTerms.epochs,
    samples: int | None = None,
    schedule: Schedule = TrainingTerms.schedule,
    seed: int = TrainingTerms.seed,
    freeze: int = TrainingTerms.freeze,
    augment: Augment = TrainingTerms.augment,
    views: int | None = TrainingTerms.views,
    dtype: Dtype | None = None,
    device: DeviceKind | None = None,
    storage: int | str | None = None,
    cache_dtype: CacheDtype | None = PlanTerms.cache_dtype,
    strategy: Strategy = PlanTerms.strategy,
    prefer: Preference = PlanTerms.prefer,
    max_cuts: int | None = PlanTerms.max_cuts,
    linear_segments: bool = PlanTerms.linear_segments,
    allocator: Policy | None = PlanTerms.allocator,
    reserve: int | str | None = PlanTerms.reserve_bytes,
    head_time_share: float = PlanTerms.head_time_share,
    grouping_threshold: float = PlanTerms.grouping_threshold,
) -> Plan:
    """Find the fastest training of a network that stays within a memory budget. Nothing is trained.

    Either `plan(profile, budget)`, with the optimizer that was profiled, or `plan(module, sample, budget=budget)`,
    which profiles the module first, as `profile` does. The plan describes the network; the module's own weights are
    left alone.

    Args:
        subject: a profile, or a module that is a chain of known layers.
        second: beside a profile the budget, beside a module a sample as in `profile`.
        budget: memory that training never exceeds: bytes, or text like "300MiB".
        data: what the network will be trained on: a data set or a path, as for `run`. What its classes are called goes
            into the plan, and `run` matches labels by that; `samples` follow from it.
        optimizer: "sgd", "adam", "adamw", or an `OptimizerConfig` in full; none: the profile's, or "sgd".
        scope: what the budget counts. "process": everything resident, Python and torch included; "training": bytes
            above what these take by themselves.
        batch: samples of one optimizer step.
        epochs: passes over the data, for each block.
        samples: training samples of one pass; none: as many as `data` has, or 50,000.
        schedule: how the learning rate moves over a block's training, "cosine" or "constant".
        seed: of every random stream.
        freeze: the first so many units are not trained, and keep the weights that `run(…, init=…)` gives them.
        augment: what happens to images while training: "none", "crop", "flip", "crop-flip".
        views: augmented passes that a cache between blocks holds; none: 4, or the epochs where these are fewer.
        dtype: what units compute in, "float32" or "bfloat16"; none: the profile's, or "float32".
        device: where tensors live, "cpu" or "cuda"; none: the profile's, or "cpu".
        storage: most storage for caches of activations between blocks: bytes, or text; none: not limited.
        cache_dtype: how these caches hold activations, "float32", "bfloat16" or "uint8"; none: as units compute, or
            "bfloat16" where the storage does not hold the two largest so.
        strategy: "auto" (the best of all), "backprop", "checkpoint", "classic-local" or "neuroflux".
        prefer: what "auto" prefers of the plans that fit: "balanced" (fewest cuts within 10 % of the fastest), "speed"
            or "fidelity" (fewest cuts).
        max_cuts: most boundaries where gradient stops; none: any number. 0 trains as ordinary backpropagation does.
        linear_segments: whether segments may do without a convolution, such as the classifier alone.
        allocator: what the training process does with freed memory: "tight" gives it back, "fast" keeps it; none:
            whichever is faster and fits.
        reserve: part of the budget that is left free: bytes, or text; none: 4 MiB.
        head_time_share: most time that a head may add to a typical segment, as a share of it, from 0 to 1.
        grouping_threshold: under "neuroflux", largest relative difference of the micro-batches that fit within one
            block, from 0 to 1.

    Returns:
        The plan, for `run`.

    Raises:
        InfeasibleError: nothing fits; its `minimum_bytes` is the smallest budget that would be enough.
        InputError: an argument is missing or outside its range, or is not what the profile measured; the data cannot be
            read, or does not fit.
        ModelError: the module is no chain of known layers.

    Example:
        >>> found = planner.plan(measured, "300MiB", batch=64, epochs=5, samples=60_000)
        >>> found.predicted.peak_bytes <= 300 * 2**20
        True
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
        ("cache_dtype", cache_dtype or "float32", CacheDtype),
    ):
        _check_choice(name, value, choices)
    if isinstance(subject, Profile) and dtype not in (None, subject.dtype):
        raise InputError(f"dtype: the profile was taken in {subject.dtype}; take another one for {dtype}")
    if isinstance(subject, Profile) and device not in (None, subject.device.kind):
        raise InputError(f"device: the profile was taken on {subject.device.kind}; take another one for {device}")
    computed = subject.dtype if isinstance(subject, Profile) else dtype or "float32"
    chosen = _chosen_optimizer(subject, optimizer)
    names: tuple[str, ...] = ()
    if data is not None:
        names, found = look(data, _model_of(subject, second), seed)
        samples = samples or found
    try:
        terms = PlanTerms(
            budget=BudgetTerms(_bytes(budget, "budget"), scope),
            training=TrainingTerms(
                batch=batch,
                epochs=epochs,
                samples=TrainingTerms.samples if samples is None else samples,
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
    planned = make_plan(measured, request)
    return with_class_names(planned, names) if names else planned


def _model_of(subject: Profile | nn.Module, sample: Any) -> Model:
    """The network as it is described."""
    if isinstance(subject, Profile):
        return subject.model
    from planner.model.importers.module import import_module  # brings torch, which planning does without

    return import_module(subject, sample, None)


def _chosen_optimizer(subject: Profile | nn.Module, optimizer: str | OptimizerConfig | None) -> OptimizerConfig:
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
    """Train as a plan says, within its budget, and export the network that comes out.

    The run is the command `neuroflux run` in a process of its own, since this one, with torch and whatever else in it,
    is none that a budget could hold. It ends when this one does. Ctrl-C lets it save first.

    A data set of this program is written down once, one sample in memory at a time, into an .npz file in a temporary
    folder within `out`, for the training process shares no memory with this one and never unpickles anything. That
    takes a byte for each value, and is gone when this returns; where this process is killed, it stays. A random
    transformation is drawn once.

    Args:
        plan: what `plan` found.
        dataset: a map-style data set of (image, label) pairs, or what `neuroflux run --data` takes: "sample",
            "fashion-mnist", or a path. An image is a tensor, an array or a Pillow image of the size that the model
            takes: 8-bit values, or floats from 0 to 1, which are rounded to 8 bits; the run normalises them. A label is
            a whole number from 0. An attribute `classes`, a list of names, as torchvision's have, says what they mean.
        test: another data set to measure on; none: a tenth of every class is held out for that. A data set that is
            named has a test part of its own.
        out: the output folder; none: runs/<first 12 digits of the plan's id>.
        epochs: passes over the data instead of the plan's.
        max_steps: most optimizer steps of each block, for a short run.
        seed: of every random stream, instead of the plan's.
        init: weights to begin with: a safetensors file, or a run's output folder.
        exit_tolerance: points of accuracy that the smallest exit kept may lose to the best, on a tenth of the training
            samples that is held out to choose both by; none holds nothing out.
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
    with scratch as into:
        data = _written(plan, dataset, test, Path(into))
        plan_file = Path(into) / "plan.json"
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
    write_npz(path, plan.model.input, parts, _names(plan, dataset, test))
    return str(path)


def _names(plan: Plan, dataset: MapDataset, test: MapDataset | None) -> tuple[str, ...]:
    """What the classes are called. Raises InputError where training and test samples call them otherwise."""
    names, others = (class_names(each, plan.model.classes) for each in (dataset, test))
    if names and others and names != others:
        raise InputError(f"test: {class_difference(names, others)} than the training samples'")
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


def _bytes(value: int | str, name: str) -> int:
    return value if isinstance(value, int) else parse_bytes(str(value), name)


def _check_choice(name: str, value: object, choices: Any) -> None:
    if value not in get_args(choices):
        raise InputError(f"{name} is {value!r}; it is one of {', '.join(get_args(choices))}")


def _check_batch(batch: int) -> None:
    if not 1 <= batch <= MAX_BATCH:
        raise InputError(f"batch is {batch}; it must lie between 1 and {MAX_BATCH}")


def _optimizer(wanted: str | OptimizerConfig) -> OptimizerConfig:
    """An optimizer by name, as the command line means it."""
    if isinstance(wanted, OptimizerConfig):
        return wanted
    for kind in _KINDS:
        if wanted == kind:
            return usual_optimizer(kind)
    raise InputError(f"optimizer is {wanted!r}; it is {', '.join(_KINDS)}, or an OptimizerConfig")
