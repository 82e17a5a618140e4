"""A plan as a point of budget and time, for tables, pictures and the service: no search is loaded for it."""

from __future__ import annotations

from dataclasses import dataclass

from planner.schema.common import Policy
from planner.schema.plan import Plan, Strategy


@dataclass(frozen=True)
class Point:
    """A plan on the frontier."""

    budget_bytes: int
    """The smallest budget in which it fits."""
    seconds_total: float
    """Predicted time to the end of training."""
    peak_bytes: int
    """Predicted peak."""
    strategy: Strategy
    """The rule that chose it."""
    allocator: Policy
    """The training child's allocator policy."""
    blocks: int
    """Blocks."""
    cuts: int
    """Boundaries where gradient stops."""
    recomputed: int
    """Units that run forward again before their backward."""
    cache_bytes: int
    """Storage for caches."""


def point_of(plan: Plan) -> Point:
    """What the frontier says of a plan."""
    spans = [span for block in plan.blocks for segment in block.segments for span in segment.recompute]
    return Point(
        # Starting the processes can take more than any step; the smallest budget knows that.
        budget_bytes=max(plan.predicted.peak_bytes + plan.reserve_bytes, plan.minimum_budget_bytes),
        seconds_total=plan.predicted.seconds_total,
        peak_bytes=plan.predicted.peak_bytes,
        strategy=plan.strategy,
        allocator=plan.allocator,
        blocks=len(plan.blocks),
        cuts=plan.cuts,
        recomputed=sum(last - first for first, last in spans),
        cache_bytes=plan.predicted.cache_bytes,
    )
