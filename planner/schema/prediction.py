"""What the solver predicts of a plan: bytes and seconds of blocks, and what cuts cost in accuracy. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from planner.schema.codec import added
from planner.schema.common import check_range

MAX_LOSS_POINTS = 1000.0
"""Beyond what a prediction can say in earnest: a share has 100 points."""


@dataclass(frozen=True)
class PhasePeaks:
    """Peak bytes by what the block is doing, everything resident included."""

    train: int
    """Forward, backward and optimizer step."""
    cache: int
    """Writing activation caches: behind the block, and behind the frozen units where it is the first one trained and
    reads what they have left; 0 where there is neither."""
    validate: int
    """Measuring the heads on test data."""
    save: int
    """Writing the weights."""
    fit: int = added(0)
    """Fitting pooled exits; 0 where there are none, or no room for any."""


@dataclass(frozen=True)
class Breakdown:
    """What the peak of the training phase is made of; the parts sum to it."""

    runtime: int
    """Interpreter, libraries and supervisor; 0 under scope `training`."""
    data: int
    """Sample buffers and the micro-batch itself."""
    parameters: int
    """Parameters and buffers of the block's units and heads."""
    gradients: int
    """Gradients resident at the peak."""
    optimizer: int
    """Optimizer state."""
    activations: int
    """Saved for backward at the peak."""
    transient: int
    """Alive at the peak and neither saved nor a gradient, allocator overhead included."""
    cache: int
    """Buffers of the activation cache's writer."""

    @property
    def total(self) -> int:
        """The parts' sum."""
        activity = self.activations + self.transient + self.cache
        return self.runtime + self.data + self.parameters + self.gradients + self.optimizer + activity

    def by_kind(self) -> dict[str, int]:
        """The parts by what a person could change."""
        return {
            "weights": self.parameters + self.gradients + self.optimizer,
            "activations": self.activations + self.transient,
            "runtime": self.runtime,
            "samples": self.data + self.cache,
        }


@dataclass(frozen=True)
class BlockPrediction:
    """What the solver predicts for one block."""

    peak_bytes: int
    """Highest of the phases, with as much around the tensors of each as a training step has around its own."""
    peak_bytes_by_phase: PhasePeaks
    """Each phase's peak."""
    breakdown: Breakdown
    """The training phase's peak in parts."""
    seconds_per_epoch: float
    """One pass over the data."""
    finish_seconds: float
    """Cache writing and validation after the last pass; and before the first one, where frozen units fill a cache."""
    binding: str
    """The largest part of the peak, in a word."""
    extrapolated_from: int | None = None
    """The largest micro-batch at which every unit and head was measured, where this one lies beyond it; else null."""
    untouched_bytes: int = 0
    """Most that a kernel maps beyond the peak and never writes: what a limit on mapped memory leaves room for."""
    fit_room_bytes: int | None = added(None)
    """What the block's peak leaves for fitting pooled exits, which are fitted as far as they have room; null: what lies
    between the peak and that of validating."""


def unpredicted() -> BlockPrediction:
    """What stands in a plan that nobody predicted: it holds the runner to nothing."""
    return BlockPrediction(1, PhasePeaks(1, 0, 1, 1), Breakdown(1, *[0] * 7), 0.0, 0.0, "runtime", fit_room_bytes=0)


@dataclass(frozen=True)
class LossPoints:
    """Points of the task's metric, a share, that a plan is predicted to lose to backpropagation of the same network."""

    expected: float
    """Most likely; exactly 0 where nothing is cut."""
    low: float
    """Nine of ten runs lose at least so much; below 0 where they may gain."""
    high: float
    """Nine of ten runs lose at most so much."""
    guess: str = ""
    """In what the network differs from all that the prediction was fitted on, so that it is a guess; empty: in
    nothing."""

    def __post_init__(self) -> None:
        if not -100 <= self.low <= self.expected <= self.high:
            raise ValueError(f"expected is {self.expected}; it must lie between low, {self.low}, and high, {self.high}")
        check_range("high", self.high, -100, MAX_LOSS_POINTS)


@dataclass(frozen=True)
class PlanPrediction:
    """What the solver predicts for the whole plan."""

    peak_bytes: int
    """Highest of the blocks'."""
    seconds_total: float
    """To the end of training."""
    cache_bytes: int
    """Most storage the caches take at one time."""
    accuracy_loss_points: LossPoints | None = added(None)
    """What cuts cost; null: an earlier release did not tell, or the task's metric is no share."""
