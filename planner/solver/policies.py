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

_ON_REQUEST: frozenset[Policy] = frozenset({"huge"})
"""Policies that are chosen only where they are asked for. A run of cnn6 under `huge` at micro-batch 1 took 15 MiB more
than predicted, and 12 where huge pages were for what the heap grows by in steps alone; why is not found yet."""


def step_ns(policy: PolicyProfile, micro_batch: int) -> int:
    """A whole step under a policy, between and beyond its measured micro-batches as every figure of a profile."""
    sizes, times = zip(*((step.micro_batch, nanoseconds(step.seconds)) for step in policy.steps), strict=True)
    return interpolate(sizes, times, micro_batch)


def policies_of(profile: Profile, request: Request) -> tuple[Policy, ...]:
    """The allocator policies that a plan may choose.

    `tight` first. Others are among them on a CPU, where they were measured and the step under `tight` took a time that
    others can be compared with. Of those, one that another is better than in every measured figure, or whose peaks are
    not bounded yet, is left out unless it is asked for. Raises InputError where the one asked for is not among them, or
    where the profile was taken under another policy than `tight`, so that nothing is known of that.
    """
    if profile.allocator != "tight":
        raise InputError(
            f"the profile was measured under the allocator {profile.allocator}; plans are made from one measured under "
            "tight, which says what the others change; profile again"
        )
    measured = {found.policy: found for found in profile.policies}
    tight = measured.pop("tight", None)
    compares = tight is not None and all(nanoseconds(step.seconds) for step in tight.steps)
    others = measured if compares and not profile.device.is_accelerator else {}
    if request.allocator is None:
        others = {name: found for name, found in others.items() if name not in _ON_REQUEST}
        rivals = others.values()
        return ("tight", *(name for name, found in others.items() if not any(_beats(rival, found) for rival in rivals)))
    if request.allocator not in ("tight", *others):
        raise InputError(
            f"allocator is {request.allocator}, but the profile of {profile.device.name} ({profile.device.kind}) holds "
            "no steps that say what it costs; leave it to the planner, or profile again on a CPU"
        )
    return (request.allocator,)


def _beats(one: PolicyProfile, other: PolicyProfile) -> bool:
    """Whether a whole step takes fewer bytes under one policy, and less time at every micro-batch."""
    if one.account.micro_batch != other.account.micro_batch or one.account.peak_bytes >= other.account.peak_bytes:
        return False
    sizes = {step.micro_batch for found in (one, other) for step in found.steps}
    return all(step_ns(one, size) < step_ns(other, size) for size in sizes)
