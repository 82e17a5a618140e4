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
from typing import NamedTuple

from planner.schema.profile import ComponentProfile, Costs, Trace

NANOSECONDS = 10**9


class Levels(NamedTuple):
    """Bytes above a component's start during its forward and backward."""

    forward: int
    kept: int
    backward: int
    held_backward: int


class ComponentCost(NamedTuple):
    """A unit or head at one micro-batch."""

    first: Levels
    """As first of a segment."""
    inner: Levels
    """Behind another component."""
    first_stepping: Levels
    """As first of a segment, the optimizer in backward."""
    inner_stepping: Levels
    """Behind another component, the optimizer in backward."""
    detached_peak: int
    """First forward of a recomputed span, which saves nothing."""
    inference_peak: int
    untouched: int
    """Mapped and never resident."""
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

    def counted(self, times: int) -> ComponentCost:
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

    def behind_window(self, window: ComponentCost, is_shared: bool) -> ComponentCost:
        """A head with the unit in front of it that its segment trains besides, as if both were one head.

        `is_shared`: the unit is one of the same block, whose weights and optimizer state are counted there. It keeps no
        count of gradients but its own, so that those of the window are apart from it. What both give without gradients
        is never asked for.
        """

        def levels(one: Levels, head: Levels, gradients: int) -> Levels:
            backward = max(one.kept + head.backward, one.backward + gradients)
            forward = max(one.forward, one.kept + head.forward)
            return Levels(forward, one.kept + head.kept, backward, backward)

        gradients = window.static - window.weights - window.optimizer
        return self._replace(
            inner=levels(window.inner, self.inner, self.gradients),
            inner_stepping=levels(window.inner_stepping, self.inner_stepping, 0),
            untouched=max(self.untouched, window.untouched),
            weights=self.weights + (0 if is_shared else window.weights),
            optimizer=self.optimizer + (0 if is_shared else window.optimizer),
            static=self.static + (gradients if is_shared else window.static),
            gradients=self.gradients + window.gradients,
            step_transient=max(self.step_transient, window.step_transient),
            train_ns=self.train_ns + window.train_ns,
            step_ns=self.step_ns + window.step_ns,
            minimum_micro_batch=max(self.minimum_micro_batch, window.minimum_micro_batch),
        )

    @property
    def most_bytes(self) -> int:
        """More than it ever adds to what is live."""
        levels = (self.first, self.inner, self.first_stepping, self.inner_stepping)
        passing = max(map(max, levels)) + max(self.detached_peak, self.inference_peak)
        return passing + self.static + self.gradients + self.step_transient + self.output


class TimeScale(NamedTuple):
    """A ratio of times: what takes `of` nanoseconds in the profile takes `to`."""

    to: int
    of: int

    def applied(self, time: int) -> int:
        """Nanoseconds at this scale, rounded up once per figure so that every sum is exact."""
        return -(-time * self.to // self.of)


SAME_SCALE = TimeScale(1, 1)


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


_CASES = ("first", "first_accumulating", "first_stepping", "inner", "inner_accumulating", "inner_stepping")
"""Of `Traces`."""


class ComponentTable:
    """A unit's or head's figures at every profiled micro-batch: those at any other are worked out all at once."""

    def __init__(self, component: ComponentProfile) -> None:
        self._component = component
        self._sizes = tuple([cost.micro_batch for cost in component.costs])
        self._bytes = [_bytes_of(cost) for cost in component.costs]
        self._times = [_times_of(cost) for cost in component.costs]
        self._step_ns = nanoseconds(component.step_seconds)

    def at(self, micro_batch: int, accumulating: bool, time_scale: TimeScale = SAME_SCALE) -> ComponentCost:
        """What it costs, with gradients existing before backward when `accumulating`."""
        component = self._component
        levels, (detached, inference, untouched) = self._bytes_at(micro_batch)
        forward, train, first_train, running = self._times_at(micro_batch, time_scale)
        weights = component.parameter_bytes + component.buffer_bytes
        return ComponentCost(
            first=levels[1 if accumulating else 0],
            inner=levels[4 if accumulating else 3],
            first_stepping=levels[2],
            inner_stepping=levels[5],
            detached_peak=detached,
            inference_peak=inference,
            untouched=untouched,
            output=micro_batch * component.output_bytes,
            weights=weights,
            optimizer=component.optimizer_bytes,
            static=weights + component.optimizer_bytes + accumulating * component.parameter_bytes,
            gradients=(not accumulating) * component.parameter_bytes,
            step_transient=component.step_transient_bytes,
            forward_ns=forward,
            train_ns=train,
            first_train_ns=first_train,
            inference_ns=running,
            step_ns=time_scale.applied(self._step_ns),
            minimum_micro_batch=component.minimum_micro_batch,
        )

    def _bytes_at(self, micro_batch: int) -> tuple[list[Levels], list[int]]:
        """Levels by case, then what is left."""
        values = self._lines(self._bytes, micro_batch)
        if micro_batch > self._sizes[-1]:
            grown = [-(-most * micro_batch // self._sizes[-1]) for most in self._bytes[-1]]
            values = list(map(max, values, grown))
        count = 4 * len(_CASES)
        return [Levels(*values[at : at + 4]) for at in range(0, count, 4)], values[count:]

    def _times_at(self, micro_batch: int, time_scale: TimeScale) -> list[int]:
        return [time_scale.applied(time) for time in self._lines(self._times, micro_batch)]

    def _lines(self, rows: list[tuple[int, ...]], micro_batch: int) -> list[int]:
        """All figures of a row by the rule of the module."""
        left, right, at, width, beyond = _between(self._sizes, micro_batch)
        highs = rows[right]
        if not width:
            return list(highs)
        lows = rows[left] if left >= 0 else (0,) * len(highs)
        values = [low - (low - high) * at // width for low, high in zip(lows, highs, strict=True)]
        return list(map(max, highs, values)) if beyond else values


def _bytes_of(cost: Costs) -> tuple[int, ...]:
    found: list[int] = []
    for case in _CASES:
        trace: Trace = getattr(cost.traces, case)
        found += trace.forward_peak_bytes, trace.kept_bytes, trace.backward_peak_bytes, trace.held_backward_peak_bytes
    return (*found, cost.detached_peak_bytes, cost.inference_peak_bytes, cost.untouched_bytes)


def _times_of(cost: Costs) -> tuple[int, ...]:
    """Forward, with backward, with backward as first of a segment, and inference; each part rounded by itself."""
    forward = nanoseconds(cost.forward_seconds)
    train, first_train = (
        forward + nanoseconds(seconds) for seconds in (cost.backward_seconds, cost.first_backward_seconds)
    )
    return forward, train, first_train, nanoseconds(cost.inference_seconds)
