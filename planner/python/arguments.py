"""What a program's arguments mean: tasks, optimizers, amounts and choices, refused in words where they mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from planner.errors import InputError
from planner.heads.base import HeadChoice
from planner.limits import MAX_BATCH
from planner.schema.common import OptimizerConfig, OptimizerKind, usual_optimizer
from planner.schema.preprocessing import Normalisation, given_normalisation
from planner.schema.profile import Profile
from planner.schema.terms import OptimizerTerms
from planner.tasks.kinds import AnyTask, make_task
from planner.units import parse_bytes

if TYPE_CHECKING:
    from torch import nn

_KINDS: tuple[OptimizerKind, ...] = get_args(OptimizerKind)


def task_of(task: str | AnyTask) -> AnyTask:
    """A task by name, or as it is. Raises InputError."""
    if not isinstance(task, str):
        return task
    try:
        return make_task(task, {})
    except ValueError as error:
        raise InputError(f"task: {error}") from None


def head_of(kind: HeadChoice | None) -> HeadChoice | None:
    """A kind of head, `auto`, or none. Raises InputError."""
    if kind is not None:
        check_choice("head", kind, HeadChoice)
    return kind


def chosen_optimizer(subject: Profile | nn.Module, optimizer: str | OptimizerConfig | None) -> OptimizerConfig:
    """The one that was named, of the kind and state that a profile has measured; else the profile's own, or SGD."""
    if not isinstance(subject, Profile):
        return optimizer_of(optimizer or "sgd")
    measured = subject.optimizer
    if optimizer is None:
        return measured
    chosen = optimizer_of(optimizer)
    if (chosen.kind, chosen.state_copies) != (measured.kind, measured.state_copies):
        raise InputError(f"optimizer: the profile was taken with {measured}; take another one for another")
    return chosen


_USUAL_BEFORE = (
    OptimizerConfig("sgd", 0.05, 0.9, weight_decay=5e-4),
    OptimizerConfig("adam", 0.001),
    OptimizerConfig("adamw", 0.001),
)
"""What `usual_optimizer` once gave: profiles of that time, and shipped ones, say that they were taken so."""


def optimizer_terms(given: str | OptimizerConfig | None, chosen: OptimizerConfig) -> OptimizerTerms:
    """What asks for `chosen`, which `chosen_optimizer` made of `given`.

    A name, and a profile that was taken as usual, leave the rest to what is usual for the plan's batch.
    """
    is_usual = chosen in (*map(usual_optimizer, _KINDS), *_USUAL_BEFORE)
    if isinstance(given, OptimizerConfig) or not is_usual:
        return OptimizerTerms.of(chosen)
    return OptimizerTerms(chosen.kind)


def normalisation_of(
    mean: float | Sequence[float] | None, std: float | Sequence[float] | None, normalise: str | None, has_data: bool
) -> Normalisation | None:
    """What is said of it in numbers. Raises InputError where these do not go with each other."""
    if normalise not in (None, "measured"):
        raise InputError(f"normalise is {normalise!r}; it is 'measured', or none")
    if normalise is not None and not has_data:
        raise InputError("normalise: 'measured' reads the training samples; give them as data")
    if normalise is not None and (mean is not None or std is not None):
        raise InputError("normalise: 'measured' finds mean and std; leave these out")
    try:
        return given_normalisation(_numbers(mean), _numbers(std))
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from None


def _numbers(value: float | Sequence[float] | None) -> Sequence[float] | None:
    return (value,) if isinstance(value, int | float) else value


def bytes_of(value: int | str, name: str) -> int:
    """An amount of memory or storage. Raises InputError."""
    return value if isinstance(value, int) else parse_bytes(str(value), name)


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise InputError for what is none of the choices."""
    if value not in get_args(choices):
        raise InputError(f"{name} is {value!r}; it is one of {', '.join(get_args(choices))}")


def check_batch(batch: int) -> None:
    """Raise InputError for a number of samples outside its range."""
    if not 1 <= batch <= MAX_BATCH:
        raise InputError(f"batch is {batch}; it must lie between 1 and {MAX_BATCH}")


def optimizer_of(wanted: str | OptimizerConfig) -> OptimizerConfig:
    """An optimizer by name, as the command line means it."""
    if isinstance(wanted, OptimizerConfig):
        return wanted
    for kind in _KINDS:
        if wanted == kind:
            return usual_optimizer(kind)
    raise InputError(f"optimizer is {wanted!r}; it is {', '.join(_KINDS)}, or an OptimizerConfig")
