"""A profile at one micro-batch, in integer bytes and nanoseconds: the numbers every other module of the solver adds up.

Between two profiled micro-batches every figure is interpolated linearly and rounded up (peaks are convex in the
micro-batch, so this is from above); beyond the largest it continues with the last slope, never falling; below the
smallest it stays. A single profiled micro-batch grows in proportion. Bytes grow beyond the largest at least in
proportion: the last slope of a convex peak is its least, and was seen to miss a unit's peak by up to half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def nanoseconds(seconds: float) -> int:
    """Whole nanoseconds, rounded once so that every sum is exact."""
    return round(seconds * NANOSECONDS)


def interpolate(sizes: Sequence[int], values: Sequence[int], micro_batch: int) -> int:
    """The value at `micro_batch` of a table over rising `sizes`, by the rule of the module."""
    for index, size in enumerate(sizes):
        if size == micro_batch or (index == 0 and micro_batch < size):
            return values[index]
        if size > micro_batch:
            return _line(sizes[index - 1], values[index - 1], size, values[index], micro_batch)
    if len(sizes) == 1:
        return _line(0, 0, sizes[0], values[0], micro_batch)
    return max(values[-1], _line(sizes[-2], values[-2], sizes[-1], values[-1], micro_batch))


def interpolate_bytes(sizes: Sequence[int], values: Sequence[int], micro_batch: int) -> int:
    """The same for bytes: beyond the largest size at least in proportion to it."""
    value = interpolate(sizes, values, micro_batch)
    return max(value, _line(0, 0, sizes[-1], values[-1], micro_batch)) if micro_batch > sizes[-1] else value


def _line(left: int, low: int, right: int, high: int, at: int) -> int:
    return low - (low - high) * (at - left) // (right - left)


def piece_cost(piece: PieceProfile, micro_batch: int, accumulating: bool) -> PieceCost:
    """What a piece costs at one micro-batch, with gradients existing before backward when `accumulating`."""
    sizes = [cost.micro_batch for cost in piece.costs]

    def at(values: list[int]) -> int:
        return interpolate(sizes, values, micro_batch)

    def bytes_at(values: list[int]) -> int:
        return interpolate_bytes(sizes, values, micro_batch)

    costs = piece.costs
    forward = [nanoseconds(cost.forward_seconds) for cost in costs]
    weights = piece.parameter_bytes + piece.buffer_bytes
    return PieceCost(
        first=_levels(bytes_at, [_first(cost, accumulating) for cost in costs]),
        inner=_levels(bytes_at, [_inner(cost, accumulating) for cost in costs]),
        first_stepping=_levels(bytes_at, [cost.traces.first_stepping for cost in costs]),
        inner_stepping=_levels(bytes_at, [cost.traces.inner_stepping for cost in costs]),
        detached_peak=bytes_at([cost.detached_peak_bytes for cost in costs]),
        inference_peak=bytes_at([cost.inference_peak_bytes for cost in costs]),
        output=micro_batch * piece.output_bytes,
        weights=weights,
        optimizer=piece.optimizer_bytes,
        static=weights + piece.optimizer_bytes + accumulating * piece.parameter_bytes,
        gradients=(not accumulating) * piece.parameter_bytes,
        step_transient=piece.step_transient_bytes,
        forward_ns=at(forward),
        train_ns=at([one + nanoseconds(cost.backward_seconds) for one, cost in zip(forward, costs, strict=True)]),
        first_train_ns=at(
            [one + nanoseconds(cost.first_backward_seconds) for one, cost in zip(forward, costs, strict=True)]
        ),
        inference_ns=at([nanoseconds(cost.inference_seconds) for cost in costs]),
        step_ns=nanoseconds(piece.step_seconds),
        minimum_micro_batch=piece.minimum_micro_batch,
    )


def _levels(bytes_at: Callable[[list[int]], int], traces: list[Trace]) -> Levels:
    return Levels(
        bytes_at([trace.forward_peak_bytes for trace in traces]),
        bytes_at([trace.kept_bytes for trace in traces]),
        bytes_at([trace.backward_peak_bytes for trace in traces]),
        bytes_at([trace.held_backward_peak_bytes for trace in traces]),
    )


def _first(cost: Costs, accumulating: bool) -> Trace:
    return cost.traces.first_accumulating if accumulating else cost.traces.first


def _inner(cost: Costs, accumulating: bool) -> Trace:
    return cost.traces.inner_accumulating if accumulating else cost.traces.inner
