"""A profile at one micro-batch, in integer bytes and nanoseconds: the numbers every other module of the solver adds up.

Between two profiled micro-batches every figure is interpolated linearly and rounded up (peaks are convex in the
micro-batch, so this is from above); beyond the largest it continues with the last slope, never falling; below the
smallest it stays. A single profiled micro-batch grows in proportion. Bytes grow beyond the largest at least in
proportion: the last slope of a convex peak is its least, and was seen to miss a unit's peak by up to half.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from operator import add
from typing import NamedTuple

from planner.profiler.schema import Costs, PieceProfile, Trace

NANOSECONDS = 10**9


class Levels(NamedTuple):
    """Bytes above a piece's start during its forward and backward."""

    forward: int
    kept: int
    backward: int
    held_backward: int


class PieceCost(NamedTuple):
    """A unit or head at one micro-batch."""

    first: Levels
    """As first of a segment."""
    inner: Levels
    """Behind another piece."""
    first_stepping: Levels
    """As first of a segment, the optimizer in backward."""
    inner_stepping: Levels
    """Behind another piece, the optimizer in backward."""
    detached_peak: int
    """First forward of a recomputed span, which saves nothing."""
    inference_peak: int
    output: int
    """Bytes of the micro-batch's output."""
    weights: int
    """Parameters and buffers."""
    optimizer: int
    static: int
    """Resident throughout training: weights, optimizer state, and when accumulating the gradients."""
    gradients: int
    """Gradients that appear in backward and go with the step; 0 when accumulating."""
    step_transient: int
    forward_ns: int
    """Forward alone, while training."""
    train_ns: int
    """Forward and backward."""
    first_train_ns: int
    """The same as first of a segment."""
    inference_ns: int
    step_ns: int
    minimum_micro_batch: int

    def counted(self, times: int) -> PieceCost:
        """Every byte that comes and goes while training or validating counted `times` over; what stays, once."""

        def levels(one: Levels) -> Levels:
            return Levels(*(times * level for level in one))

        return self._replace(
            first=levels(self.first),
            inner=levels(self.inner),
            first_stepping=levels(self.first_stepping),
            inner_stepping=levels(self.inner_stepping),
            detached_peak=times * self.detached_peak,
            inference_peak=times * self.inference_peak,
            output=times * self.output,
            gradients=times * self.gradients,
            step_transient=times * self.step_transient,
        )

    @property
    def most_bytes(self) -> int:
        """More than it ever adds to what is live."""
        levels = (self.first, self.inner, self.first_stepping, self.inner_stepping)
        passing = max(map(max, levels)) + max(self.detached_peak, self.inference_peak)
        return passing + self.static + self.gradients + self.step_transient + self.output


class Pace(NamedTuple):
    """A ratio of times: what takes `of` nanoseconds in the profile takes `to`."""

    to: int
    of: int

    def nanoseconds(self, seconds: float) -> int:
        """Whole nanoseconds at this pace, rounded once per figure so that every sum is exact."""
        return -(-nanoseconds(seconds) * self.to // self.of)


SAME_PACE = Pace(1, 1)


def nanoseconds(seconds: float) -> int:
    """Whole nanoseconds."""
    return round(seconds * NANOSECONDS)


class _Between(NamedTuple):
    """Where a micro-batch lies among those of a table: the rule of the module, worked out once for many values."""

    left: int
    """Index of the figure on the left; -1 for nothing at 0."""
    right: int
    at: int
    """The micro-batch, counted from the left one."""
    width: int
    beyond: bool
    """Whether it lies behind the largest."""

    def value(self, values: Sequence[int]) -> int:
        """The interpolated value."""
        high = values[self.right]
        if not self.width:
            return high
        low = values[self.left] if self.left >= 0 else 0
        value = low - (low - high) * self.at // self.width
        return max(high, value) if self.beyond else value


@lru_cache(maxsize=1024)
def _between(sizes: tuple[int, ...], micro_batch: int) -> _Between:
    if micro_batch in sizes or micro_batch < sizes[0]:
        index = bisect_left(sizes, micro_batch)
        return _Between(index, index, 0, 0, False)
    right = min(bisect_left(sizes, micro_batch), len(sizes) - 1)
    before = sizes[right - 1] if right else 0
    beyond = micro_batch > sizes[-1] and len(sizes) > 1
    return _Between(right - 1, right, micro_batch - before, sizes[right] - before, beyond)


def interpolate(sizes: Sequence[int], values: Sequence[int], micro_batch: int) -> int:
    """The value at `micro_batch` of a table over rising `sizes`, by the rule of the module."""
    return _between(tuple(sizes), micro_batch).value(values)


def interpolate_bytes(sizes: Sequence[int], values: Sequence[int], micro_batch: int) -> int:
    """The same for bytes: beyond the largest size at least in proportion to it."""
    value = interpolate(sizes, values, micro_batch)
    return max(value, -(-values[-1] * micro_batch // sizes[-1])) if micro_batch > sizes[-1] else value


def piece_cost(piece: PieceProfile, micro_batch: int, accumulating: bool, pace: Pace = SAME_PACE) -> PieceCost:
    """What a piece costs at one micro-batch, with gradients existing before backward when `accumulating`."""
    costs = piece.costs
    sizes = tuple([cost.micro_batch for cost in costs])
    between = _between(sizes, micro_batch)

    def bytes_at(values: list[int]) -> int:
        value = between.value(values)
        return max(value, -(-values[-1] * micro_batch // sizes[-1])) if micro_batch > sizes[-1] else value

    def levels(traces: list[Trace]) -> Levels:
        return Levels(
            bytes_at([trace.forward_peak_bytes for trace in traces]),
            bytes_at([trace.kept_bytes for trace in traces]),
            bytes_at([trace.backward_peak_bytes for trace in traces]),
            bytes_at([trace.held_backward_peak_bytes for trace in traces]),
        )

    forward = [pace.nanoseconds(cost.forward_seconds) for cost in costs]
    backward = [pace.nanoseconds(cost.backward_seconds) for cost in costs]
    first_backward = [pace.nanoseconds(cost.first_backward_seconds) for cost in costs]
    weights = piece.parameter_bytes + piece.buffer_bytes
    return PieceCost(
        first=levels([_first(cost, accumulating) for cost in costs]),
        inner=levels([_inner(cost, accumulating) for cost in costs]),
        first_stepping=levels([cost.traces.first_stepping for cost in costs]),
        inner_stepping=levels([cost.traces.inner_stepping for cost in costs]),
        detached_peak=bytes_at([cost.detached_peak_bytes for cost in costs]),
        inference_peak=bytes_at([cost.inference_peak_bytes for cost in costs]),
        output=micro_batch * piece.output_bytes,
        weights=weights,
        optimizer=piece.optimizer_bytes,
        static=weights + piece.optimizer_bytes + accumulating * piece.parameter_bytes,
        gradients=(not accumulating) * piece.parameter_bytes,
        step_transient=piece.step_transient_bytes,
        forward_ns=between.value(forward),
        train_ns=between.value(list(map(add, forward, backward))),
        first_train_ns=between.value(list(map(add, forward, first_backward))),
        inference_ns=between.value([pace.nanoseconds(cost.inference_seconds) for cost in costs]),
        step_ns=pace.nanoseconds(piece.step_seconds),
        minimum_micro_batch=piece.minimum_micro_batch,
    )


def _first(cost: Costs, accumulating: bool) -> Trace:
    return cost.traces.first_accumulating if accumulating else cost.traces.first


def _inner(cost: Costs, accumulating: bool) -> Trace:
    return cost.traces.inner_accumulating if accumulating else cost.traces.inner
