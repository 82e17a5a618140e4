"""What a segment can save by recomputing: the Pareto frontier of dynamic bytes against time, as far as it may fit.

From the segment's end to its start, unit by unit: what lies behind a unit needs so many bytes above whatever is kept
before it, and costs so much time more. A unit either keeps what it saves, or opens a span that is recomputed. Of two
ways to go on, one that needs more bytes and more time is dropped, and so is one that needs more than there is; what is
left is exact. `planner.solver.memory_model` says the same moment by moment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from planner.solver.search.segment_tables import BatchMode, Integers, SegmentRow, SegmentSums, SegmentTables, sums_of

Spans = tuple[tuple[int, int], ...]

_KEPT_ENDINGS = 256
"""Ends whose frontiers are in memory; older ones are worked out again when they are asked for."""


class ParetoPoint(NamedTuple):
    """A Pareto point: a segment's dynamic bytes and the time that recomputing takes for that."""

    peak: int
    """Dynamic bytes, above what is kept before it."""
    time: int
    """Of units that run forward again: in the unit of `Base.time`."""
    schedule: RecomputeSchedule
    """What it recomputes."""


class RecomputeSchedule(NamedTuple):
    """Recomputed spans that are not written out yet: of thousands of points one is taken."""

    ending: _Ending
    first: int
    link: int

    def spans(self) -> Spans:
        """The recomputed spans, from the first unit on."""
        return self.ending.spans(self.first, self.link)


class _ReplayTables(NamedTuple):
    """By first unit and end: a recomputed span, above what is kept before it."""

    forward: Integers
    """Highest level of its first forward."""
    again: Integers
    """Highest level of forward and backward when it runs again, gradients of its own units and its output included."""
    again_first: Integers
    """The same as first of a segment."""
    time: Integers
    """By boundary: nanoseconds of forward of all units before it."""


class RecomputeFrontier:
    """Segments' frontiers, computed for all segments that end at one boundary at a time, as far down as is wanted."""

    def __init__(self, space: SegmentTables) -> None:
        self._space = space
        self._replays = lru_cache(maxsize=None)(self._make_replays)
        self._endings: OrderedDict[tuple[BatchMode, int, bool, int], _Ending] = OrderedDict()

    def of(self, mode: BatchMode, first: int, end: int, closing: bool, block: int, room: int) -> Iterator[ParetoPoint]:
        """The Pareto points of a segment that take at most `room` dynamic bytes, the fastest first.

        `block` is the first unit of its block.
        """
        key = mode, end, closing, room
        found = self._endings.pop(key, None)
        if found is None:
            found = self._make_ending(mode, end, closing, room)
        self._endings[key] = found
        if len(self._endings) > _KEPT_ENDINGS:
            self._endings.popitem(last=False)
        return self._above(mode, found, first, end, closing, block)

    def _above(
        self, mode: BatchMode, ending: _Ending, first: int, end: int, closing: bool, block: int
    ) -> Iterator[ParetoPoint]:
        """With the input that is held, and the moments that no recomputation changes."""
        row, heads = self._space.row(mode.micro_batch, mode.stepping), self._space.heads(mode)
        given = 0 if first == block else int(row.made[block, first])
        always = int(heads.transient[end]) if row.accumulating else 0
        if not (row.accumulating or row.stepping):
            sums = self._space.sums(mode.micro_batch, mode.stepping)
            transient = max(int(heads.transient[end]), int(sums.step_transient[first, end]))
            always = given + int(sums.gradients[first, end]) + int(heads.gradients[end]) + transient
            always += 0 if closing else int(row.made[first, end])
        samples = self._space.problem.training.samples
        last = None
        for peak, time, entry in zip(*ending.opening(first), strict=True):
            highest = max(given + peak, always)
            if last is None or highest < last:
                yield ParetoPoint(highest, samples * time, RecomputeSchedule(ending, first, entry))
                last = highest

    def _make_ending(self, mode: BatchMode, end: int, closing: bool, room: int) -> _Ending:
        row, heads = self._space.row(mode.micro_batch, mode.stepping), self._space.heads(mode)
        last = row.inner[end - 1], row.first[end - 1]
        return _Ending(
            row=row,
            replays=self._replays(mode.micro_batch, mode.stepping),
            end=end,
            last=tuple(level.backward if closing else level.held_backward for level in last),
            held=np.zeros(end, dtype=np.int64) if closing else row.made[:end, end],
            top=int(heads.top[end]),
            head_gradients=int(heads.gradients[end]),
            room=room,
        )

    def _make_replays(self, micro_batch: int, stepping: bool) -> _ReplayTables:
        row = self._space.row(micro_batch, stepping)
        sums, inner = self._space.sums(micro_batch, stepping), sums_of(row._replace(first=row.inner))
        return _ReplayTables(
            forward=_detached(row),
            again=_again(inner, row.given),
            again_first=_again(sums, row.given),
            time=np.array([*accumulate((unit.forward_ns for unit in row.units), initial=0)], dtype=np.int64),
        )


def _again(sums: SegmentSums, output: Integers) -> Integers:
    found: Integers = np.maximum(sums.forward + output, np.maximum(sums.earlier, sums.last))
    return found


def _detached(row: SegmentRow) -> Integers:
    count = len(row.units)
    found = np.zeros((count, count + 1), dtype=np.int64)
    level = np.zeros(count, dtype=np.int64)
    for index, unit in enumerate(row.units):
        np.maximum(level[:index], row.made[:index, index] + unit.detached_peak, out=level[:index])
        level[index] = unit.detached_peak
        found[: index + 1, index + 1] = level[: index + 1]
    return found


_Fronts = tuple[Integers, Integers, Integers]
"""Peaks, times, and an entry each: where it goes on, counted over all that lies behind."""


class _Ending:
    """Frontiers of all segments up to one end, from short to long ones.

    What lies behind each unit is kept in one list, the end's single way first. An entry says where it goes on, and
    whether the unit before that opens a span: then that unit's own way on is where the span ends.
    """

    def __init__(
        self,
        row: SegmentRow,
        replays: _ReplayTables,
        end: int,
        last: tuple[int, ...],
        held: Integers,
        top: int,
        head_gradients: int,
        room: int,
    ) -> None:
        """`last`: the level in the last unit's backward, behind another unit and as first, with what is held then.

        `held`: by unit, what outlives the segment of what it and the units behind it make.
        """
        self._row, self._replays, self._end, self._last, self._held = row, replays, end, last, held
        self._room = room
        later = [head_gradients]
        for index in range(end - 1, -1, -1):
            later.append(later[-1] + row.gradients[index])
        self._later = np.array(later[::-1], dtype=np.int64)
        """By unit: gradients that exist before its backward; one more entry for the end."""
        self._peak = np.array([top], dtype=np.int64)
        self._time = np.zeros(1, dtype=np.int64)
        self._unit = np.array([end], dtype=np.int16)
        """Behind which each entry lies: it is a way from this unit on."""
        self._link = np.full(1, -1, dtype=np.int32)
        self._start = {end: (0, 1)}
        self._lowest = end
        self._opening: dict[int, tuple[list[int], list[int], list[int]]] = {}

    def opening(self, first: int) -> tuple[list[int], list[int], list[int]]:
        """Peak, time and entry of every Pareto point of the segment from `first`, the fastest first."""
        found = self._opening.get(first)
        if found is None:
            peak, time, link = self._open(first)
            found = self._opening[first] = peak.tolist(), time.tolist(), link.tolist()
        return found

    def _open(self, first: int) -> _Fronts:
        while self._lowest > first + 1:
            begin, end = self._start[self._lowest]
            if begin == end:  # what does not fit does not fit behind more units either
                nothing = np.zeros(0, dtype=np.int64)
                return nothing, nothing, nothing
            self._add(self._lowest - 1)
        return self._front(first, True)

    def spans(self, first: int, link: int) -> Spans:
        """The recomputed spans of a Pareto point."""
        found, unit = [], first
        while link >= 0:
            follows, replayed = divmod(link, 2)
            end = int(self._unit[follows])
            if replayed:
                found.append((unit, end))
            unit, link = end, int(self._link[follows])
        return tuple(found)

    def _add(self, index: int) -> None:
        peak, time, link = self._front(index, False)
        begin = len(self._link)
        self._start[index] = begin, begin + len(peak)
        self._peak = np.concatenate((self._peak, peak))
        self._time = np.concatenate((self._time, time))
        self._unit = np.concatenate((self._unit, np.full(len(peak), index, dtype=np.int16)))
        self._link = np.concatenate((self._link, link.astype(np.int32)))
        self._lowest = index

    def _front(self, index: int, opening: bool) -> _Fronts:
        row, replays = self._row, self._replays
        level = row.first[index] if opening else row.inner[index]
        begin, end = self._start[index + 1]
        held = int(self._held[index])
        backward = self._last[opening] if index == self._end - 1 else held + level.backward
        own = max(level.forward, backward + int(self._later[index + 1]))
        kept_peak = np.maximum(own, level.kept + self._peak[begin:end])
        again = (replays.again_first if opening else replays.again)[index]
        top = np.maximum(replays.forward[index], held + self._later_at(again))
        unit = self._unit[:end]
        span_peak = np.maximum(top[unit], row.made[index, unit] + self._peak[:end])
        span_time = self._time[:end] + replays.time[unit] - int(replays.time[index])
        peak = np.concatenate((kept_peak, span_peak))
        time = np.concatenate((self._time[begin:end], span_time))
        link = np.concatenate((np.arange(begin, end) * 2, np.arange(len(span_peak)) * 2 + 1))
        fits = np.nonzero(peak <= self._room)[0]
        return _worth_having(peak[fits], time[fits], link[fits])

    def _later_at(self, again: Integers) -> Integers:
        """Gradients behind a span, by its end, under what it takes."""
        found = again.copy()
        found[: self._end + 1] += self._later
        return found


def _worth_having(peak: Integers, time: Integers, link: Integers) -> _Fronts:
    """Those that no other beats in bytes and time both, the fastest first; of equals, the one that comes first."""
    order = np.lexsort((peak, time))
    peak, time, link = peak[order], time[order], link[order]
    least = np.minimum.accumulate(peak)
    better = np.ones(len(peak), dtype=np.bool_)
    better[1:] = peak[1:] < least[:-1]
    return peak[better], time[better], link[better]
