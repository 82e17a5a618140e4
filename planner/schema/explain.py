"""What the solver answers beside a plan: points of budget and time, what strategies need, one step's memory.

Tables, pictures and the service read these; no search is loaded for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.schema.codec import added
from planner.schema.common import Policy
from planner.schema.plan import Plan
from planner.schema.prediction import LossPoints
from planner.schema.request import Strategy


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
    accuracy_loss_points: LossPoints | None = added(None)
    """What cuts cost; null: the task's metric is no share."""


def point_of(plan: Plan) -> Point:
    """What the frontier says of a plan."""
    spans = [span for block in plan.stages for segment in block.segments for span in segment.recompute]
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
        accuracy_loss_points=plan.predicted.accuracy_loss_points,
    )


@dataclass(frozen=True)
class Need:
    """The least memory of one strategy."""

    strategy: Strategy
    """Its name."""
    budget_bytes: int | None
    """The smallest budget that it fits; none where no budget is enough."""
    reason: str
    """Why no budget is; empty where one is."""


@dataclass(frozen=True)
class PolishOffer:
    """What it would take to end a plan with a polish."""

    needed_bytes: int
    """The smallest budget that it fits, under the plan's allocator policy."""
    epoch_seconds: float | None
    """An epoch of it within the plan's budget; none: it does not fit."""
    peak_bytes: int | None
    """Its peak there; none: it does not fit."""


@dataclass(frozen=True)
class MemoryPoint:
    """Live bytes above what stays for the whole step, while one unit or the loss is run, or the optimizer steps."""

    phase: Literal["forward", "backward", "step"]
    """Part of the training step."""
    unit: int | None
    """Index of the unit that runs; none for the loss, and for the optimizer's step."""
    activations_bytes: int
    """Kept for backward by the units before it, and by itself."""
    gradients_bytes: int
    """Of the parameters of the units behind it."""
    transient_bytes: int
    """What comes and goes at this point, gradients that arise in it included."""


@dataclass(frozen=True)
class TrainingStep:
    """Memory along one training step by plain backpropagation, at one micro-batch."""

    micro_batch: int
    """Samples in the step."""
    runtime_bytes: int
    """Resident bytes of the child before any step."""
    overhead_bytes: int
    """Resident beyond tensors at the peak."""
    data_bytes: int
    """The micro-batch and its buffers."""
    weights_bytes: int
    """Parameters and buffers."""
    optimizer_bytes: int
    """Optimizer state."""
    points: tuple[MemoryPoint, ...]
    """In the order of the step."""

    @property
    def peak(self) -> int:
        """The highest point's index."""
        levels = [self.level_bytes(point) for point in self.points]
        return levels.index(max(levels))

    def level_bytes(self, point: MemoryPoint) -> int:
        """Resident bytes of the child at a point."""
        return sum(self.parts(point).values())

    def parts(self, point: MemoryPoint) -> dict[str, int]:
        """The same by what it is, from below."""
        return {
            "runtime": self.runtime_bytes,
            "overhead": self.overhead_bytes,
            "data": self.data_bytes,
            "weights": self.weights_bytes,
            "optimizer": self.optimizer_bytes,
            "gradients": point.gradients_bytes,
            "activations": point.activations_bytes,
            "transient": point.transient_bytes,
        }
