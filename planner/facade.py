"""What `planner.profile` and `planner.plan` are: the stations one after another, for people who write Python."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from planner.errors import InputError
from planner.limits import MAX_BATCH
from planner.profiler.profile import ProfileRequest, take_profile
from planner.profiler.schema import Profile
from planner.settings import Optimizer, Policy, usual_optimizer
from planner.solver.device import check_device
from planner.solver.plan import make_plan
from planner.solver.request import Request
from planner.solver.schema import Budget, Plan, Preference, Scope, Strategy, Training
from planner.system.machine import probe
from planner.units import parse_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn


_KINDS: tuple[Literal["sgd", "adam", "adamw"], ...] = ("sgd", "adam", "adamw")


def profile(
    model: nn.Module,
    sample: Tensor,
    *,
    classes: int | None = None,
    optimizer: str | Optimizer = "sgd",
    batch: int = 128,
    max_bytes: int | str | None = None,
    max_seconds: float | None = None,
) -> Profile:
    """Measure a module that is a chain on this device. The module itself is not trained, nor changed.

    `sample` is one batch or one image, and says what the input looks like. `optimizer` is "sgd" (with momentum 0.9),
    "adam", "adamw", or an `Optimizer`. `max_bytes` and `max_seconds` bound the
    measurement. Raises ModelError where the module is no chain of known layers.
    """
    from planner.model.importers.module import import_module  # brings torch, which planning does without

    _check_batch(batch)
    chosen = _optimizer(optimizer)
    description = import_module(model, sample, classes)
    limit = None if max_bytes is None else _bytes(max_bytes, "max_bytes")
    request = ProfileRequest(description, chosen, batch, probe().cores, max_bytes=limit, max_seconds=max_seconds)
    return take_profile(request, lambda done, total, name: None)


def plan(
    profile: Profile,
    budget: int | str,
    *,
    scope: Scope = "process",
    batch: int = 128,
    epochs: int = 10,
    samples: int = 50_000,
    storage: int | str | None = None,
    strategy: Strategy = "auto",
    prefer: Preference = "balanced",
    max_cuts: int | None = None,
    allocator: Policy | None = None,
    reserve: int | str | None = None,
) -> Plan:
    """The plan that trains within `budget` (bytes, or text like "300MiB"), with the optimizer that was profiled.

    `max_cuts` bounds the boundaries where gradient stops. `allocator` is "tight" or "fast"; none takes whichever is
    faster and fits. `reserve` is the part of the budget that is left free; none takes the usual one.

    Raises InfeasibleError, which carries the smallest budget that is enough, where nothing fits.
    """
    for name, value, choices in (
        ("scope", scope, Scope),
        ("strategy", strategy, Strategy),
        ("prefer", prefer, Preference),
        ("allocator", "tight" if allocator is None else allocator, Policy),
    ):
        if value not in get_args(choices):
            raise InputError(f"{name} is {value!r}; it is one of {', '.join(get_args(choices))}")
    try:
        training = Training(batch, epochs, samples, profile.optimizer)
        request = Request(
            Budget(_bytes(budget, "budget"), scope),
            training,
            None if storage is None else _bytes(storage, "storage"),
            strategy,
            prefer,
            max_cuts=max_cuts,
            allocator=allocator,
        )
        if reserve is not None:
            request = replace(request, reserve_bytes=_bytes(reserve, "reserve"))
    except ValueError as error:
        raise InputError(str(error)) from None
    check_device(profile.device, request.budget.bytes)
    return make_plan(profile, request)


def _bytes(value: int | str, name: str) -> int:
    return value if isinstance(value, int) else parse_bytes(str(value), name)


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
