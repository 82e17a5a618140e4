"""What a process pays around its tensors, found by whole training steps where they fit, else by the units' kernels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from planner.document import decode, parse_json
from planner.errors import InfeasibleError, InputError
from planner.model.shapes import model_sizes
from planner.profiler.account import Accounts, StepOverhead, Taken
from planner.profiler.bounded import Bounds
from planner.profiler.job import Job
from planner.profiler.kernels import Overhead
from planner.profiler.schema import PolicyProfile
from planner.profiler.survey import first_line
from planner.system.allocator import Policy
from planner.units import MIB

_LARGEST_STEP = 16
"""Largest micro-batch of a whole step: enough to see what grows, and quick."""

_TIME_SHARE = 0.3
"""Most of the time left that whole steps may take."""

_LEAST_PERMILLE = 3
"""Whole pages in place of parts of pages cost that much at least, wherever they were not seen to."""

_MOST_PERMILLE = 200
"""Growth beyond this comes from noise between two steps, not from the allocator."""

_UNSEEN_BYTES = 2 * MIB
_UNSEEN_PERMILLE = 5
"""Added to the kernels' growth where no whole step fitted: what it would have shown beyond."""


@dataclass(frozen=True)
class Calibrated:
    """What surrounds tensors under `tight`, and what every policy costs."""

    overhead_bytes: int
    """Constant part."""
    overhead_permille: int
    """Part that grows with the allocator's peak."""
    calibration_seconds: float
    """The calibration kernel's time."""
    policies: tuple[PolicyProfile, ...]
    """Every policy under which a whole step fitted."""


def calibrate(job: Job, path: Path, bounds: Bounds) -> Calibrated:
    """Measure for the job at `path`. Raises as `first_line` does where not even a unit's kernels can be used."""
    policies: list[PolicyProfile] = []
    seconds: float | None = None
    for policy in ("tight", "fast"):
        found = _take_accounts(job, path, "tight" if policy == "tight" else "fast", bounds)
        if found is not None:
            policies.append(_profile("tight" if policy == "tight" else "fast", found))
            seconds = found.calibration_seconds if seconds is None else seconds
    if policies and policies[0].policy == "tight" and seconds is not None:
        return Calibrated(policies[0].overhead_bytes, policies[0].overhead_permille, seconds, tuple(policies))
    kernels = decode(Overhead, parse_json(first_line(bounds, "planner.profiler.kernels", str(path))))
    constant = kernels.growth_bytes + _UNSEEN_BYTES
    return Calibrated(constant, _UNSEEN_PERMILLE, kernels.calibration_seconds, tuple(policies))


def step_sizes(job: Job) -> tuple[int, ...]:
    """Micro-batches of whole steps, rising: the smallest that is legal and, where there is one, a larger one."""
    least = max(sizes.minimum_micro_batch for sizes in model_sizes(job.model))
    legal = [size for size in job.micro_batches if size >= least] or [least]
    larger = [size for size in legal if legal[0] < size <= _LARGEST_STEP]
    return (legal[0], *larger[-1:])


def _take_accounts(job: Job, path: Path, policy: Policy, bounds: Bounds) -> Accounts | None:
    """Whole steps at two micro-batches, else at the smaller alone; None where that does not fit either."""
    share = dataclasses.replace(bounds, deadline=bounds.deadline - (1 - _TIME_SHARE) * bounds.seconds_left)
    sizes = step_sizes(job)
    for tried in dict.fromkeys((sizes, sizes[:1])):
        try:
            line = first_line(share, "planner.profiler.account", str(path), policy, *map(str, tried))
        except (InfeasibleError, InputError):  # killed, or no time: what follows measures in smaller pieces
            continue
        taken = decode(Taken, parse_json(line)).accounts
        if taken is not None:
            return taken
    return None


def _profile(policy: Policy, found: Accounts) -> PolicyProfile:
    constant, permille = fit_overhead(found.steps)
    seconds = found.steps[-1].seconds
    return PolicyProfile(policy, found.baseline_bytes, constant, permille, seconds, found.account)


def fit_overhead(steps: tuple[StepOverhead, ...]) -> tuple[int, int]:
    """Constant bytes and thousandths of the live bytes that cover what every step took beyond its live bytes."""
    permille = _LEAST_PERMILLE
    if len(steps) > 1:
        (small, large), beyond = (steps[0], steps[-1]), [step.peak_bytes - step.live_bytes for step in steps]
        growth, span = beyond[-1] - beyond[0], large.live_bytes - small.live_bytes
        if growth > 0 and span > 0:
            permille = min(_MOST_PERMILLE, max(permille, -(-growth * 1000 // span)))
    constant = max(step.peak_bytes - step.live_bytes - step.live_bytes * permille // 1000 for step in steps)
    return max(0, constant), permille
