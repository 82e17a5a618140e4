"""Allocator policies: which of them a plan may choose, and what a step costs under each."""

from __future__ import annotations

from planner.errors import InputError
from planner.schema.common import Policy
from planner.schema.profile import Profile
from planner.schema.request import Request
from planner.schema.runtime import PolicyProfile
from planner.solver.costs import (
    interpolate,
    nanoseconds,
)


def step_ns(policy: PolicyProfile, micro_batch: int) -> int:
    """A whole step under a policy, between and beyond its measured micro-batches as every figure of a profile."""
    sizes, times = zip(*((step.micro_batch, nanoseconds(step.seconds)) for step in policy.steps), strict=True)
    return interpolate(sizes, times, micro_batch)


def policies_of(profile: Profile, request: Request) -> tuple[Policy, ...]:
    """The allocator policies that a plan may choose.

    `fast` is one of them on a CPU, where both policies were measured and the step under `tight` took a time that others
    can be compared with. Raises InputError where the one asked for is not among them, or where the profile was taken
    under another policy than `tight`, so that nothing is known of that.
    """
    if profile.allocator != "tight":
        raise InputError(
            f"the profile was measured under the allocator {profile.allocator}; plans are made from one measured under "
            "tight, which says what fast changes; profile again"
        )
    measured = {found.policy: min(nanoseconds(step.seconds) for step in found.steps) for found in profile.policies}
    is_known = not profile.device.is_accelerator and "fast" in measured and measured.get("tight", 0) > 0
    known: tuple[Policy, ...] = ("tight", "fast") if is_known else ("tight",)
    if request.allocator is None:
        return known
    if request.allocator not in known:
        raise InputError(
            f"allocator is {request.allocator}, but the profile of {profile.device.name} ({profile.device.kind}) holds "
            "no steps that say what it costs; leave it to the planner, or profile again on a CPU"
        )
    return (request.allocator,)
