"""Another device's plan held against what starting takes on this one, before anything is trained. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from planner.errors import InfeasibleError
from planner.schema.plan import BatchSetting, Plan
from planner.units import format_bytes


def fallbacks_here(
    plan: Plan, allowed_bytes: int | None, baseline_bytes: int, start_peak_bytes: int, why: str
) -> tuple[int, ...]:
    """The first setting of every block that fits beside what the training process takes here: 0 is the plan's own.

    `allowed_bytes` is what that process may take, none: anything; `baseline_bytes` what it took when torch had started,
    and `start_peak_bytes` the most until then. `why` says of which plan that may be more than it counts. Raises
    InfeasibleError where a block has no such setting, or starting alone took too much.
    """
    if allowed_bytes is None:
        return (0,) * len(plan.stages)
    counts_start = plan.budget.scope == "process"
    needed = [[baseline_bytes + _dynamic_bytes(plan, found) for found in block.settings] for block in plan.stages]
    least = max(start_peak_bytes if counts_start else 0, *(min(sizes) for sizes in needed))
    if least > allowed_bytes:
        raise InfeasibleError(
            f"{why} does not fit here: starting took {format_bytes(baseline_bytes)} (at its "
            f"highest {format_bytes(start_peak_bytes)}) where the plan counts {format_bytes(plan.baseline_bytes)}, so "
            f"that the training process needs at least {format_bytes(least)} of its {format_bytes(allowed_bytes)}; "
            "profile and plan on this device",
            plan.budget.bytes + least - allowed_bytes,
            "runtime",
        )
    return tuple(_first(sizes, allowed_bytes) for sizes in needed)


def _dynamic_bytes(plan: Plan, setting: BatchSetting) -> int:
    """What a setting takes beside interpreter, libraries and supervisor, which the scope `training` leaves out."""
    found = setting.predicted
    return found.peak_bytes - (found.breakdown.runtime if plan.budget.scope == "process" else 0)


def _first(sizes: Sequence[int], allowed_bytes: int) -> int:
    return next(number for number, size in enumerate(sizes) if size <= allowed_bytes)
