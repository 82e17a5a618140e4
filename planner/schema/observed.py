"""What runs have told of a profile's times. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from planner.schema.common import Policy, check_range

LEAST_FACTOR, MOST_FACTOR = 0.05, 20.0


@dataclass(frozen=True)
class PolicyFactor:
    """How runs under one allocator policy compare with what was predicted for them."""

    policy: Policy
    """The policy."""
    factor: float
    """Times of the profile are multiplied by it."""

    def __post_init__(self) -> None:
        check_range("factor", self.factor, LEAST_FACTOR, MOST_FACTOR)


@dataclass(frozen=True)
class Observed:
    """Runs on the profile's device."""

    profile_id: str
    """The profile as it was measured."""
    runs: int
    """So many of them."""
    factors: tuple[PolicyFactor, ...]
    """By policy: all that the profile holds."""
