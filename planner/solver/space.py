"""The segments of all blocks, at every micro-batch and under every cap of widths: the graph that the search walks.

A segment adds static bytes and time and has a dynamic peak; a block's live bytes are the sum of the first plus the
largest of the last, once while training and once while validating. Peaks come from running sums, so that a segment
costs constant time; `planner.solver.walk` says the same piece by piece.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from planner.solver.costs import PieceCost
from planner.solver.filters import capped_widths, preferred_widths
from planner.solver.problem import Problem

NOTHING = -(2**80)
"""Below every level."""


class Edge(NamedTuple):
    """A segment, seen from its first unit."""

    end: int
    time: int
    """What the cut at `end` adds: nanoseconds × micro-batch over one epoch, at preferred widths."""
    static: int
    """Resident throughout training that its head adds."""
    weights: int
    """Resident while validating that its head adds."""
    peak: int
    """Dynamic bytes while training."""
    validate_peak: int


class Base(NamedTuple):
    """A block without cuts: what its units and the head at its end add, whatever lies between."""

    time: int
    static: int
    weights: int
    peak: int
    """Of steps that belong to no segment (accumulating)."""
    validate_peak: int
    """Of units, and of writing the cache."""


class _Sums(NamedTuple):
    """A span of units without its head."""

    forward: int
    kept: int
    earlier: int
    """Highest level in the backward of all units but the last."""
    last: int
    """Highest level in the backward of the last unit."""
    last_held: int
    """The same while its output is held."""
    gradients: int
    step_transient: int


class _Row(NamedTuple):
    """All units at one micro-batch."""

    units: tuple[PieceCost, ...]
    sums: tuple[tuple[_Sums, ...], ...]
    """By first unit, and by length less one."""
    accumulating: bool


class Space:
    """Segments and blocks, computed as far as they are asked for. `cap` is an index into `widths`, widest first."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.preferred = preferred_widths(problem)
        self.widths = capped_widths(problem)
        self._row = lru_cache(maxsize=None)(self._make_row)
        self.edges = lru_cache(maxsize=None)(self._make_edges)
        self.closing = lru_cache(maxsize=None)(self._make_closing)
        self.base = lru_cache(maxsize=None)(self._make_base)

    def _make_row(self, micro_batch: int) -> _Row:
        units = tuple(self.problem.unit_cost(unit, micro_batch) for unit in range(self.problem.count))
        sums = tuple(_sums(units[first:]) for first in range(len(units)))
        return _Row(units, sums, self.problem.accumulates(micro_batch))

    def _make_edges(self, micro_batch: int, cap: int, first: int, leading: bool) -> tuple[Edge, ...]:
        """Every legal segment from `first` that does not close its block, rising; `leading` where it opens it."""
        found = []
        for end in self.problem.boundaries:
            if first < end < self.problem.count:
                head = self.problem.head_cost(end, self.widths[cap][end], micro_batch)
                if head.minimum_micro_batch <= micro_batch:
                    peak = self._peak(micro_batch, first, end, head, leading, closing=False)
                    validate = self._row(micro_batch).units[end - 1].output + head.inference_peak
                    time = self._cut_time(end, micro_batch)
                    found.append(Edge(end, time, head.static, head.weights, peak, validate))
        return tuple(found)

    def _make_closing(self, micro_batch: int, cap: int, first: int, end: int, leading: bool) -> Edge:
        """The segment from `first` that closes its block at `end`; its head's bytes and time are in the base."""
        head = self.problem.head_cost(end, self.widths[cap][end], micro_batch)
        peak = self._peak(micro_batch, first, end, head, leading, closing=True)
        validate = self._row(micro_batch).units[end - 1].output + head.inference_peak
        return Edge(end, 0, 0, 0, peak, validate)

    def _peak(self, micro_batch: int, first: int, end: int, head: PieceCost, leading: bool, closing: bool) -> int:
        row = self._row(micro_batch)
        span = row.sums[first][end - first - 1]
        output = 0 if closing else row.units[end - 1].output
        peak = max(
            span.forward,
            span.kept + max(head.inner.forward, head.inner.backward),
            head.gradients + (span.last if closing else span.last_held),
            head.gradients + span.earlier + output,
        )
        if not row.accumulating:
            transient = max(span.step_transient, head.step_transient)
            peak = max(peak, output + span.gradients + head.gradients + transient)
        if not leading:
            peak += row.units[first - 1].output
        return max(peak, head.step_transient) if row.accumulating else peak

    def _cut_time(self, end: int, micro_batch: int) -> int:
        head = self.problem.head_cost(end, self.preferred[end], micro_batch)
        unit = self._row(micro_batch).units[end]
        micro_step = head.train_ns + unit.first_train_ns - unit.train_ns
        return self.problem.training.samples * micro_step + micro_batch * self.problem.steps * head.step_ns

    def _make_base(self, micro_batch: int, cap: int, first: int, end: int) -> Base | None:
        """The block [first, end); none where a batch normalisation in it needs a larger micro-batch."""
        row, problem = self._row(micro_batch), self.problem
        units = row.units[first:end]
        head = problem.head_cost(end, self.widths[cap][end], micro_batch)
        if micro_batch < max(head.minimum_micro_batch, *(unit.minimum_micro_batch for unit in units)):
            return None
        timed = problem.head_cost(end, self.preferred[end], micro_batch)
        micro_step = sum(unit.train_ns for unit in units) - units[0].train_ns + units[0].first_train_ns + timed.train_ns
        step = sum(unit.step_ns for unit in units) + timed.step_ns
        data = problem.data_bytes(first, micro_batch) + problem.kernel_bytes(micro_batch)
        held = [0, *(unit.output for unit in units)]
        inference = max(below + unit.inference_peak for below, unit in zip(held, units, strict=False))
        return Base(
            time=problem.training.samples * micro_step + micro_batch * problem.steps * step,
            static=data + head.static + sum(unit.static for unit in units),
            weights=data + head.weights + sum(unit.weights for unit in units),
            peak=max(unit.step_transient for unit in units) if row.accumulating else 0,
            validate_peak=inference + problem.writer_bytes(end, micro_batch),
        )


def _sums(units: tuple[PieceCost, ...]) -> tuple[_Sums, ...]:
    """Sums of every span that begins with the first of `units`."""
    found: list[_Sums] = []
    forward = kept = gradients = transient = 0
    earlier = last = NOTHING
    for unit in units:
        levels = unit.inner if found else unit.first
        earlier = max(earlier, last) + unit.gradients
        forward = max(forward, kept + levels.forward)
        last = kept + levels.backward
        held = kept + levels.held_backward
        kept += levels.kept
        gradients += unit.gradients
        transient = max(transient, unit.step_transient)
        found.append(_Sums(forward, kept, earlier, last, held, gradients, transient))
    return tuple(found)
