"""What `planner.profile` and `planner.plan` are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from planner.errors import InputError
from planner.heads.base import HeadChoice
from planner.heads.kinds import measured_heads
from planner.profiler.profile import ProfileRequest, take_profile
from planner.python.arguments import (
    bytes_of,
    check_batch,
    check_choice,
    chosen_optimizer,
    head_of,
    normalisation_of,
    optimizer_of,
    optimizer_terms,
    task_of,
)
from planner.python.datasets import Samples, look, measured_normalisation, shorter_side_of
from planner.schema.common import CacheDtype, DeviceKind, Dtype, OptimizerConfig, Policy
from planner.schema.device_checks import check_device
from planner.schema.inputs import InputDtype
from planner.schema.model import Model
from planner.schema.plan import Plan, with_class_names
from planner.schema.profile import Profile
from planner.schema.request import Augment, Overlap, Preference, Schedule, Scope, Strategy
from planner.schema.terms import BudgetTerms, PlanTerms, TrainingTerms, left_for_caches
from planner.solver.plan import make_plan
from planner.solver.request import check_images
from planner.system.machine import probe
from planner.tasks.kinds import AnyTask

if TYPE_CHECKING:
    from torch import Tensor, nn

    from planner.model.importers.description import Description


def describe(
    model: nn.Module,
    sample: Tensor,
    *,
    classes: int | None = None,
    inputs: InputDtype | None = None,
    outputs: Callable[[Any], Any] | None = None,
    task: str | AnyTask = "classification",
) -> Description:
    """Say within seconds whether a network comes in, without measuring: as which units, or all that is in the way.

    Args:
        model: a module as in `profile`.
        sample: what its input looks like, as in `profile`.
        classes: as in `profile`.
        inputs: as in `profile`.
        outputs: as in `profile`.
        task: as in `profile`.

    Returns:
        Its `model` (units, shapes, parameters), or None and every one of the `obstacles`: each with the line of the
        network's own code where that is known, and what to do. `print` shows it.

    Raises:
        RunError: the process that looks at it was ended, by the network's code or for lack of memory.

    Example:
        >>> print(planner.describe(network, torch.zeros(1, 28, 28)))
    """
    from planner.model.importers.apart import describe_apart  # brings torch, which planning does without
    from planner.model.importers.given import Given

    return describe_apart(Given(model, sample, classes, outputs, task_of(task), inputs))


def profile(
    model: nn.Module,
    sample: Tensor,
    *,
    classes: int | None = None,
    inputs: InputDtype | None = None,
    outputs: Callable[[Any], Any] | None = None,
    task: str | AnyTask = "classification",
    optimizer: str | OptimizerConfig = "sgd",
    batch: int = TrainingTerms.batch,
    dtype: Dtype = TrainingTerms.dtype,
    device: DeviceKind = "cpu",
    max_bytes: int | str | None = None,
    max_seconds: float | None = None,
    head: HeadChoice | None = None,
) -> Profile:
    """Measure on this device what training a network costs: bytes and seconds of every unit and head.

    The module is measured in processes of its own, from a description of its operators. It is neither trained nor
    changed; outputs and gradients of a copy are compared with the description's. Takes minutes; how far it has come is
    shown where standard error is a terminal.

    Args:
        model: any module that `torch.export` takes, with one tensor in and (samples, classes) out. What does not
            require a gradient is not trained.
        sample: what the input looks like: a batch of samples, or one of them; of 1 to 4 dimensions, for instance an
            image (channels, height, width). The first dimension is that of the samples wherever the network takes it
            so, but what it takes as one image is one. Of numbers the values do not matter.
        classes: how many classes the network tells apart; none: read off its output, with which it has to agree.
        inputs: what data sets hold: "uint8" (images of 8-bit values, or of floats from 0 to 1, which the run
            normalises), "float32" (numbers, given as they are) or "int64" (tokens); none: images where `sample` has
            three dimensions (or uint8 numbers), tokens where its numbers are whole, numbers otherwise.
        outputs: picks the tensor from what the module returns, where that is a tuple, a dict or an object:
            `outputs=lambda out: out.logits`.
        task: what it is for: "classification", "multilabel", "regression", "segmentation", "autoencoder", "next-token",
            or one of `planner.tasks` with its settings, `Regression("regression", "huber")` for instance.
        optimizer: "sgd" (with momentum 0.9), "adam", "adamw", or an `OptimizerConfig` in full.
        batch: samples of one optimizer step. Plans for smaller batches can be made from the same profile.
        dtype: what units compute in, "float32" or "bfloat16". Weights and optimizer state are float32 in any case.
        device: where tensors live: "cpu", or "cuda" for the first GPU.
        max_bytes: most memory, of the device's, that measuring may take: bytes, or text like "2GiB"; none: 80 % of what
            is available.
        max_seconds: most time that it may take; none: 10 minutes.
        head: a kind of head to measure behind every unit besides the usual ones, for `plan(…, head=…)`; "auto": all.

    Returns:
        What was measured, for `plan`. What the limits left out is named in its `limits`, and extrapolated.

    Raises:
        ModelError: the module cannot be taken; the error names the layer or the line of its code.
        InfeasibleError: a layer does not fit in `max_bytes` even with its smallest micro-batch.
        InputError: an argument lies outside its range, torch is not installed, or the time was too short.
        RunError: a measuring process failed.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
        >>> measured = planner.profile(network, torch.zeros(1, 28, 28), batch=64)
    """
    check_batch(batch)
    check_choice("dtype", dtype, Dtype)
    check_choice("device", device, DeviceKind)
    chosen = optimizer_of(optimizer)
    description = _described(model, sample, classes, outputs, task_of(task), inputs)
    limit = None if max_bytes is None else bytes_of(max_bytes, "max_bytes")
    cores = probe().cores
    heads = measured_heads(head_of(head))
    return _measured(ProfileRequest(description, chosen, batch, cores, dtype, device, heads, limit, max_seconds))


def plan(
    subject: Profile | nn.Module,
    second: int | str | Tensor | None = None,
    /,
    *,
    budget: int | str | None = None,
    outputs: Callable[[Any], Any] | None = None,
    task: str | AnyTask | None = None,
    data: Samples | str | Path | None = None,
    inputs: InputDtype | None = None,
    optimizer: str | OptimizerConfig | None = None,
    scope: Scope = BudgetTerms.scope,
    batch: int = TrainingTerms.batch,
    epochs: int = TrainingTerms.epochs,
    early_epochs: int | None = TrainingTerms.early_epochs,
    samples: int | None = None,
    schedule: Schedule = TrainingTerms.schedule,
    warmup: int | None = TrainingTerms.warmup,
    polish: int = TrainingTerms.polish,
    polish_lr: float | None = TrainingTerms.polish_lr,
    seed: int = TrainingTerms.seed,
    freeze: int = TrainingTerms.freeze,
    augment: Augment = TrainingTerms.augment,
    views: int | None = TrainingTerms.views,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    normalise: Literal["measured"] | None = None,
    resize: bool | int = False,
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
    head: HeadChoice | None = PlanTerms.head,
    overlap: Overlap = PlanTerms.overlap,
    max_accuracy_loss: float | None = PlanTerms.max_accuracy_loss,
) -> Plan:
    """Find the fastest training of a network that stays within a memory budget. Nothing is trained.

    Either `plan(profile, budget)`, with the optimizer that was profiled, or `plan(module, sample, budget=budget)`,
    which profiles the module first, as `profile` does. The plan describes the network; the module's own weights are
    left alone.

    Args:
        subject: a profile, or a module as in `profile`.
        second: beside a profile the budget, beside a module a sample as in `profile`.
        budget: memory that training never exceeds: bytes, or text like "300MiB".
        outputs: beside a module, as in `profile`.
        task: beside a module, as in `profile`; none: "classification", or the profile's.
        data: what the network will be trained on: a data set or a path, as for `run`. What its classes are called goes
            into the plan, and `run` matches labels by that; `samples` follow from it. What is iterated over and has no
            length needs `samples` beside it, and has to begin anew each time: its first sample is looked at here.
        inputs: as in `profile`.
        optimizer: "sgd", "adam", "adamw", with the usual settings and a learning rate that follows `batch`, or an
            `OptimizerConfig` in full; none: the profile's, or "sgd".
        scope: what the budget counts. "process": everything resident, Python and torch included; "training": bytes
            above what these take by themselves.
        batch: samples of one optimizer step.
        epochs: passes over the data, for each block.
        early_epochs: blocks train for fewer epochs the earlier they end: from this before the first unit evenly up to
            `epochs` behind the last; none: every block for `epochs`.
        samples: training samples of one pass; none: as many as `data` has, or 50,000.
        schedule: how the learning rate moves over a block's training, "cosine" or "constant".
        warmup: epochs of every block over which its learning rate rises evenly, before the schedule begins; none: 0,
            or an eighteenth of all for batches above 256.
        polish: epochs of end-to-end training of the whole network behind the blocks, under the same budget.
        polish_lr: learning rate at the start of that; none: a tenth of the optimizer's.
        seed: of every random stream.
        freeze: the first so many units are not trained, and keep the weights that `run(…, init=…)` gives them.
        augment: what happens to images while training: "none", "crop", "flip", "crop-flip".
        views: augmented passes that a cache between blocks holds; none: 4, or the epochs where these are fewer.
        mean: with `std`, how samples go into the network: images as (value / 255 - mean) / std of their 8-bit values,
            which is (value - mean) / std of floats from 0 to 1; numbers of float32 as (value - mean) / std. One number,
            or one for each channel; what a network was trained with before, torchvision's for instance, goes here.
            None: 0.5 for images, others as they are.
        std: see `mean`; none: 0.25.
        normalise: "measured": mean and std of each channel are measured over `data`'s training samples, all of which
            are read for it, and go into the plan; those of a data set of this program are all that it has.
        resize: whether images of other sizes than the network's input are resized to it: bilinear with antialiasing, as
            8-bit values, proportions not kept. Otherwise they are refused, unless they are pictures of a folder. With
            a number every image is resized to that shorter side, proportions kept, and the input's size is cut out of
            its middle: torchvision's `Resize(number)` and `CenterCrop`.
        dtype: what units compute in, "float32" or "bfloat16"; none: the profile's, or "float32".
        device: where tensors live, "cpu" or "cuda"; none: the profile's, or "cpu".
        storage: most storage for caches of activations between blocks: bytes, or text; none: not limited. Data that is
            given takes its part of it, a program's own twice: it is written down for a run, and prepared.
        cache_dtype: how these caches hold activations, "float32", "bfloat16" or "uint8"; none: as units compute, or
            "bfloat16" where the storage does not hold the two largest so.
        strategy: "auto" (the best of all), "backprop", "checkpoint", "classic-local" or "neuroflux".
        prefer: what "auto" prefers of the plans that fit: "balanced" (least accuracy lost within 10 % of the fastest),
            "speed" or "fidelity" (least accuracy lost, which is fewest cuts).
        max_cuts: most boundaries where gradient stops; none: any number. 0 trains as ordinary backpropagation does.
        linear_segments: whether segments may do without a convolution, such as the classifier alone.
        allocator: what the training process does with freed memory: "tight" gives it back, "fast" keeps it, "huge"
            keeps it in huge pages, with peaks that are not bounded yet (a run may end above its budget); none: "tight"
            or "fast", whichever is faster and fits.
        reserve: part of the budget that is left free: bytes, or text; none: 4 MiB.
        head_time_share: most time that a head may add to a typical segment, as a share of it, from 0 to 1.
        grouping_threshold: under "neuroflux", largest relative difference of the micro-batches that fit within one
            block, from 0 to 1.
        head: what stands at cuts, "pooled-conv", "mlp", "lookahead" or "reconstruct"; others than the first a profile
            has to have measured (`profile(…, head=…)`); none: the first, or what the network's outputs allow; "auto":
            the kind, of those it has measured, that suits `prefer` best.
        overlap: how many units behind its own a segment trains as well, 0 or 1; "auto": as suits `prefer` best.
        max_accuracy_loss: most points of accuracy that the plan is predicted to lose to backpropagation
            (`found.predicted.accuracy_loss_points`); 0 allows no cut; none: any number.

    Returns:
        The plan, for `run`.

    Raises:
        InfeasibleError: nothing fits, or `storage` does not hold the data; its `minimum_bytes` is the smallest
            budget, or storage, that would be enough.
        InputError: an argument is missing or outside its range, or is not what the profile measured; the data cannot be
            read, or does not fit.
        ModelError: the module cannot be taken.

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
        check_choice(name, value, choices)
    if isinstance(subject, Profile) and dtype not in (None, subject.dtype):
        raise InputError(f"dtype: the profile was taken in {subject.dtype}; take another one for {dtype}")
    if isinstance(subject, Profile) and device not in (None, subject.device.kind):
        raise InputError(f"device: the profile was taken on {subject.device.kind}; take another one for {device}")
    chosen_task = task_of(task or "classification")
    if isinstance(subject, Profile) and task is not None and chosen_task != subject.model.task:
        raise InputError(f"task: the profile is of {subject.model.task.kind} with other settings; take another one")
    computed = subject.dtype if isinstance(subject, Profile) else dtype or "float32"
    chosen = chosen_optimizer(subject, optimizer)
    names: tuple[str, ...] = ()
    stored_bytes = 0
    described: Model | None = None
    given = normalisation_of(mean, std, normalise, data is not None)
    if data is not None:
        if isinstance(subject, Profile):
            described = subject.model
        else:
            described = _described(subject, second, None, outputs, chosen_task, inputs)
        looked = look(data, described, seed, resize, samples)
        names, stored_bytes = looked.class_names, looked.stored_bytes
        if normalise is not None:
            given = measured_normalisation(data, described, seed, resize)
        samples = samples or looked.training_samples
    try:
        terms = PlanTerms(
            budget=BudgetTerms(bytes_of(budget, "budget"), scope),
            training=TrainingTerms(
                batch=batch,
                epochs=epochs,
                early_epochs=early_epochs,
                samples=TrainingTerms.samples if samples is None else samples,
                optimizer=optimizer_terms(optimizer, chosen),
                schedule=schedule,
                warmup=warmup,
                polish=polish,
                polish_lr=polish_lr,
                augment=augment,
                views=views,
                dtype=computed,
                seed=seed,
                freeze=freeze,
                normalisation=given,
                resize="bilinear" if resize else None,
                shorter_side=shorter_side_of(resize),
            ),
            storage_bytes=left_for_caches(None if storage is None else bytes_of(storage, "storage"), stored_bytes),
            cache_dtype=cache_dtype,
            strategy=strategy,
            prefer=prefer,
            max_cuts=max_cuts,
            linear_segments=linear_segments,
            allocator=allocator,
            reserve_bytes=None if reserve is None else bytes_of(reserve, "reserve"),
            head_time_share=head_time_share,
            grouping_threshold=grouping_threshold,
            head=head_of(head),
            overlap=overlap,
            max_accuracy_loss=max_accuracy_loss,
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    request = terms.request()
    if isinstance(subject, Profile):
        measured = subject
    else:
        check_batch(batch)
        described = described or _described(subject, second, None, outputs, chosen_task, inputs)
        check_images(described, request.training)
        cores, heads = probe().cores, measured_heads(request.head)
        measured = _measured(ProfileRequest(described, chosen, batch, cores, computed, device or "cpu", heads))
    check_device(measured.device, request.budget.bytes)
    planned = make_plan(measured, request)
    return with_class_names(planned, names) if names else planned


def _measured(request: ProfileRequest) -> Profile:
    """The profile; how far measuring has come is shown where standard error is a terminal."""
    if not (sys.stderr is not None and sys.stderr.isatty()):
        return take_profile(request, lambda done, total, name: None)
    from planner.cli.measure import measuring_bar

    with measuring_bar() as on_progress:
        return take_profile(request, on_progress)


def _described(
    module: nn.Module,
    sample: Any,
    classes: int | None,
    outputs: Callable[[Any], Any] | None,
    task: AnyTask,
    inputs: InputDtype | None,
) -> Model:
    """The network as it is described. What is no module or no tensor is told there."""
    from planner.model.importers.apart import import_apart  # brings torch, which planning does without
    from planner.model.importers.given import Given

    return import_apart(Given(module, sample, classes, outputs, task, inputs))
