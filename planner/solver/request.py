"""What a plan is asked for, and the proof that a profile can answer it."""

from __future__ import annotations

from dataclasses import dataclass

from planner.errors import InputError
from planner.limits import MAX_BYTES, MAX_UNITS
from planner.schema.common import Policy, Stored
from planner.schema.model import Model
from planner.schema.plan import Budget, Preference, Strategy, Training
from planner.schema.profile import Profile
from planner.units import MIB


@dataclass(frozen=True)
class Request:
    """One question to the solver. Raises InputError where a value lies outside its range."""

    budget: Budget
    """What must not be exceeded."""
    training: Training
    """How training goes."""
    storage_bytes: int | None = None
    """Storage the activation caches may take; none: not limited."""
    strategy: Strategy = "auto"
    """The rule that chooses."""
    prefer: Preference = "balanced"
    """What `auto` prefers among the plans that fit."""
    reserve_bytes: int = 4 * MIB
    """Part of the budget left free."""
    head_time_share: float = 0.05
    """Most time a head may add to a typical segment, as a share of it."""
    grouping_threshold: float = 0.4
    """NeuroFlux: largest relative difference of feasible micro-batches within one block."""
    max_cuts: int | None = None
    """Most boundaries where gradient stops; none: any number."""
    allocator: Policy | None = None
    """The allocator policy; none: whichever is faster of those that fit."""
    cache_dtype: Stored | None = None
    """How caches hold activations; none: in what units compute in, or in bfloat16 where the storage asked for does not
    hold the two largest caches so."""

    linear_segments: bool = False
    """Whether segments may do without a unit that extracts features, such as a last one of the classifier alone."""

    def __post_init__(self) -> None:
        _check("storage_bytes", self.storage_bytes or 0, 0, MAX_BYTES)
        _check("reserve_bytes", self.reserve_bytes, 0, MAX_BYTES)
        _check("head_time_share", self.head_time_share, 0, 1)
        _check("grouping_threshold", self.grouping_threshold, 0, 1)
        _check("max_cuts", self.max_cuts or 0, 0, MAX_UNITS)


def _check(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} is {value}; it must lie between {low} and {high}")


def check_freeze(model: Model, training: Training) -> None:
    """Refuse to freeze more units than a network has, or all of them. Raises InputError."""
    try:
        training.check_freeze(len(model.units))
    except ValueError as error:
        raise InputError(str(error)) from None


def check_measured(profile: Profile, training: Training) -> None:
    """Refuse an optimizer or arithmetic that the profile has not measured. Raises InputError."""
    if profile.dtype != training.dtype:
        raise InputError(
            f"dtype is {training.dtype}, but the profile measured {profile.dtype}; ask for that, or profile again"
        )
    measured, asked = profile.optimizer, training.optimizer
    if (measured.kind, measured.state_copies) != (asked.kind, asked.state_copies):
        raise InputError(
            f"optimizer is {asked.kind} with {asked.state_copies} copies of the parameters as state, but the profile "
            f"measured {measured.kind} with {measured.state_copies}; profile again with this optimizer"
        )
