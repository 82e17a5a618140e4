"""The best cuts and recomputed spans of one block: least time in at most so many segments, and least live bytes.

Both walk the block's segments from the left, the most promising partial block first. What is still to come is bounded
from below by the same problem with its memory coupling relaxed, so the first complete block that comes up is the best.
A segment's Pareto points of bytes against time are worked out only when nothing without them is more promising.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import cached_property
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from planner.solver.problem import BlockChoice, Source
from planner.solver.search.recompute_bound import SLACK
from planner.solver.search.segment_tables import BatchMode, Integers, SegmentTables, UncutBlock
from planner.solver.search.spans import RecomputeFrontier, RecomputeSchedule

INF_TIME = 2**200
"""Above every time and every count of bytes."""

Reals = npt.NDArray[np.float64]


class BlockSpan(NamedTuple):
    """Where a block lies in the chain, and how it is joined to its neighbours."""

    first: int
    end: int
    source: Source
    caches: bool


class _Used(NamedTuple):
    """What a partial block takes."""

    static: int
    weights: int
    peak: int
    validate_peak: int

    @property
    def live(self) -> int:
        return max(self.static + self.peak, self.weights + self.validate_peak)


class _Partial(NamedTuple):
    """Segments from the block's first unit on."""

    boundary: int
    """Where the next one begins: an index into the block's boundaries."""
    time: int
    used: _Used
    ends: tuple[int, ...]
    schedules: tuple[RecomputeSchedule, ...]
    """Of the segments that recompute something."""


class MinTime(NamedTuple):
    """The fastest way through a block, as time × micro-batch that cuts and replays add."""

    time: int
    least: int
    """No way takes less."""
    choice: BlockChoice


class _Edges(NamedTuple):
    """The block's segments, by the boundary where they begin and the boundary before that where they end."""

    peak: Integers
    least: Integers
    replay: Reals
    """No recomputation that fits takes less time, in the unit of `UncutBlock.time`; infinite where none fits."""
    static: Integers
    """By end: what the head of a cut adds; none at the block's end, whose head is the block's."""
    weights: Integers
    validate: Integers
    time: tuple[int, ...]


class BlockSearch:
    """The cuts of a block in one batch mode that fit `limit` live bytes."""

    def __init__(
        self,
        space: SegmentTables,
        frontiers: RecomputeFrontier,
        mode: BatchMode,
        block_span: BlockSpan,
        base: UncutBlock,
        limit: int,
    ) -> None:
        self._space = space
        self._frontiers = frontiers
        self._mode = mode
        self._block_span = block_span
        self._limit = limit
        self._start = _Used(base.static, base.weights, base.peak, base.validate_peak)
        self._heads = space.chosen_heads
        self._least = base.fill
        self._fits = max(self._start.live, base.fill) <= limit
        inside = space.block_boundaries[
            (space.block_boundaries > block_span.first) & (space.block_boundaries < block_span.end)
        ]
        self._block_boundaries = [block_span.first, *inside.tolist(), block_span.end]
        self._last = len(self._block_boundaries) - 1
        if self._fits:
            self._edges = self._make_edges()
            self._magnitude = float(base.time + sum(map(abs, self._edges.time)))

    def _make_edges(self) -> _Edges:
        """Those that fit alone."""
        space, mode = self._space, self._mode
        row, heads, peaks = space.row(mode.micro_batch, mode.stepping), space.heads(mode), space.peaks(mode)
        starts, ends = np.array(self._block_boundaries[:-1]), np.array(self._block_boundaries[1:])
        given = np.where(starts > self._block_span.first, row.made[self._block_span.first, starts], 0)[:, None]
        grid = np.ix_(starts, ends)
        peak, least = peaks.open[grid], peaks.least_open[grid]
        peak[:, -1], least[:, -1] = peaks.close[starts, ends[-1]], peaks.least_close[starts, ends[-1]]
        peak, least = (np.maximum(given + table, peaks.always[ends]) for table in (peak, least))
        static, weights = heads.static[ends], heads.weights[ends]
        static[-1] = weights[-1] = 0
        validate = row.made[self._block_span.first, ends] + heads.inference[ends]
        room = self._limit - self._start.static - static
        fits = np.triu(least <= room) & space.allowed[grid]
        fits &= heads.legal[ends] & (weights + validate <= self._limit - self._start.weights)
        times = space.cut_times(mode.micro_batch)
        kept = space.sums(mode.micro_batch, mode.stepping).kept[grid] + heads.top[ends] + given
        replay = space.replay(mode.micro_batch, mode.stepping).least(
            starts[:, None], ends, (kept - room).astype(np.float64)
        )
        return _Edges(
            peak=peak,
            least=least,
            replay=np.where(fits, space.problem.training.samples * replay, np.inf),
            static=static,
            weights=weights,
            validate=validate,
            time=(*(times[end] for end in self._block_boundaries[1:-1]), 0),
        )

    def _bounds(self, at_most: int | None) -> list[list[int]]:
        """By segments left, and boundary: least time from there to the end; one entry for any number of segments."""
        cost = self._edges.replay + np.array(self._edges.time, dtype=np.float64)
        if at_most is None:
            bound = np.zeros(self._last + 1)
            for boundary in range(self._last - 1, -1, -1):
                bound[boundary] = (cost[boundary, boundary:] + bound[boundary + 1 :]).min()
            return [self._safe(bound)]
        bound = np.full(self._last + 1, np.inf)
        bound[-1] = 0
        bounds = [bound]
        for _ in range(at_most):
            bound = np.append((cost + bounds[-1][1:]).min(axis=1), 0.0)
            bounds.append(bound)
        return [self._safe(bound) for bound in bounds]

    def _safe(self, bound: Reals) -> list[int]:
        """Whole numbers that no rounding has made too large."""
        return [
            INF_TIME if value == np.inf else int(value - SLACK * (abs(value) + self._magnitude))
            for value in bound.tolist()
        ]

    def fastest(self, at_most: int | None, below: int, slack: int = 0) -> MinTime | None:
        """The fastest way through the block that takes less than `below`; with `slack`, one that takes so much more."""
        if not self._fits:
            return None
        bounds = self._bounds(at_most)
        if bounds[-1][0] >= below:
            return None
        return _LabelSearch(self, at_most, bounds, below, slack).fastest()

    def smallest(self, at_most: int | None) -> int | None:
        """Least live bytes within the limit, in at most so many segments; none where nothing fits."""
        if not self._fits:
            return None
        serial = count()
        start = _Partial(0, 0, self._start, (), ())
        heap: list[tuple[int, int, int, _Partial, int]] = [(self._start.live, 0, 0, start, -1)]
        seen: dict[int, list[tuple[int, ...]]] = {}
        while heap:
            live, _, _, partial, boundary = heapq.heappop(heap)
            if boundary >= 0:
                for longer in self.recomputing(partial, boundary):
                    heapq.heappush(heap, (longer.used.live, -longer.boundary, next(serial), longer, -1))
                continue
            if partial.boundary == self._last:
                return max(live, self._least)
            segments = 0 if at_most is None else len(partial.ends)
            if _dominated(seen.setdefault(partial.boundary, []), (segments, *partial.used)) or segments == at_most:
                continue
            for end in self.follow(partial.boundary):
                used = self.with_edge(partial, end, int(self._edges.peak[partial.boundary, end]))
                if used.live <= self._limit:
                    heapq.heappush(heap, (used.live, -end - 1, next(serial), self.longer(partial, end, used), -1))
                least = self.with_edge(partial, end, int(self._edges.least[partial.boundary, end])).live
                if least < used.live and least <= self._limit:
                    heapq.heappush(heap, (least, -end - 1, next(serial), partial, end))
        return None

    def follow(self, boundary: int) -> list[int]:
        """Where segments from a boundary may end: an index into the edges."""
        found: list[int] = (np.nonzero(self._edges.replay[boundary, boundary:] < np.inf)[0] + boundary).tolist()
        return found

    def with_edge(self, partial: _Partial, end: int, peak: int) -> _Used:
        """What the partial block takes with one more segment."""
        edges, used = self._edges, partial.used
        return _Used(
            used.static + int(edges.static[end]),
            used.weights + int(edges.weights[end]),
            max(used.peak, peak),
            max(used.validate_peak, int(edges.validate[end])),
        )

    def recomputing(self, partial: _Partial, end: int, enough: int = 0) -> Iterator[_Partial]:
        """The partial block with a segment behind it, with every Pareto point that recomputes something and fits."""
        first, last = self._block_boundaries[partial.boundary], self._block_boundaries[end + 1]
        block, closing = self._block_span.first, last == self._block_span.end
        room = self._limit - partial.used.static - int(self._edges.static[end])
        for point in self._frontiers.of(self._mode, first, last, closing, block, _rounded(room)):
            if point.peak <= room and (point.time or point.schedule.spans()):
                used = self.with_edge(partial, end, point.peak)
                if self.fits(used):  # validating may need more than training: recomputing changes nothing about that
                    yield self.longer(partial, end, used, point.time, point.schedule)
                if point.peak <= enough:
                    break

    def longer(
        self, partial: _Partial, end: int, used: _Used, replay: int = 0, schedule: RecomputeSchedule | None = None
    ) -> _Partial:
        """With one more segment."""
        return _Partial(
            end + 1,
            partial.time + self._edges.time[end] + replay,
            used,
            (*partial.ends, self._block_boundaries[end + 1]),
            partial.schedules if schedule is None else (*partial.schedules, schedule),
        )

    def choice(self, partial: _Partial) -> BlockChoice:
        """The block that a complete walk describes."""
        return BlockChoice(
            first=self._block_span.first,
            micro_batch=self._mode.micro_batch,
            ends=partial.ends,
            heads=tuple(self._heads[end] for end in partial.ends),
            recompute=tuple(span for schedule in partial.schedules for span in schedule.spans()),
            optimizer_in_backward=self._mode.stepping,
            source=self._block_span.source,
            caches=self._block_span.caches,
            windows=self._space.problem.windows(partial.ends),
        )

    def is_complete(self, partial: _Partial) -> bool:
        """Whether it reaches the block's end."""
        return partial.boundary == self._last

    @property
    def start(self) -> _Partial:
        """No segment yet."""
        return _Partial(0, 0, self._start, (), ())

    def fastest_edges(self, boundary: int) -> Iterator[tuple[int, int, int, int]]:
        """Where segments from a boundary may end, their peak and least peak, and the least time of their replay."""
        edges = self._edges
        ends = self.follow(boundary)
        replays = edges.replay[boundary, ends] * (1 - SLACK)
        rows = zip(
            ends,
            edges.peak[boundary, ends].tolist(),
            edges.least[boundary, ends].tolist(),
            replays.tolist(),
            strict=True,
        )
        for end, peak, least, replay in rows:
            yield end, peak, least, edges.time[end] + int(replay)

    def fits(self, used: _Used) -> bool:
        """Whether there is room for it."""
        return used.live <= self._limit

    @cached_property
    def enough(self) -> int:
        """Dynamic bytes that fit while training, wherever the block is cut."""
        return self._limit - self._start.static - int(self._edges.static.sum())

    @cached_property
    def _validates(self) -> bool:
        """Whether validating may need more than there is."""
        edges = self._edges
        highest = max(self._start.validate_peak, int(edges.validate.max()))
        return self._start.weights + int(edges.weights.sum()) + highest > self._limit

    def needed(self, used: _Used) -> tuple[int, ...]:
        """What of it can still come to matter."""
        training = used.static, max(used.peak, self.enough)
        return (*training, used.weights, used.validate_peak) if self._validates else training


class _LabelSearch:
    """The search for the fastest way through a block."""

    def __init__(
        self, block: BlockSearch, at_most: int | None, bounds: list[list[int]], below: int, slack: int
    ) -> None:
        self._block = block
        self._at_most = at_most
        self._bounds = bounds
        self._below = below
        self._slack = slack
        self._serial = count()
        self._heap: list[tuple[int, int, int, _Partial, int, Iterator[_Partial] | None]] = []
        self._whole: _Partial | None = None
        """The fastest one that has been met."""

    def fastest(self) -> MinTime | None:
        """Its time and the block."""
        block = self._block
        self._push(block.start, 0, -1)
        seen: dict[int, list[tuple[int, ...]]] = {}
        while self._heap:
            floor, segments, _, partial, end, slower = heapq.heappop(self._heap)
            if end < 0 and block.is_complete(partial):
                return MinTime(partial.time, partial.time, block.choice(partial))
            if self._whole is not None and self._whole.time <= floor + self._slack:
                return MinTime(self._whole.time, min(floor, self._whole.time), block.choice(self._whole))
            if end >= 0:
                slower = block.recomputing(partial, end, block.enough)
            if slower is not None:
                self._push_next(slower)
            if end >= 0:
                continue
            cost = (0, 0) if self._at_most is None else (segments, partial.time)
            known = seen.setdefault(partial.boundary, [])
            if _dominated(known, (*cost, *block.needed(partial.used))) or segments == self._at_most:
                continue
            for end, peak, least, time in block.fastest_edges(partial.boundary):
                used = block.with_edge(partial, end, peak)
                if block.fits(used):
                    longer = block.longer(partial, end, used)
                    self._push(longer, longer.time, -1)
                if used.peak > max(partial.used.peak, block.enough) and least < peak:
                    self._push(partial, partial.time + time, end)
        return None

    def _push_next(self, frontiers: Iterator[_Partial]) -> None:
        """One Pareto point of a segment; slower ones are generated when it leaves the heap, most of them never."""
        longer = next(frontiers, None)
        if longer is not None:
            self._push(longer, longer.time, -1, frontiers)

    def _push(self, partial: _Partial, least: int, end: int, slower: Iterator[_Partial] | None = None) -> None:
        segments = len(partial.ends) + (end >= 0)
        left = 0 if self._at_most is None else self._at_most - segments
        least += self._bounds[left][end + 1 if end >= 0 else partial.boundary]
        if least >= self._below:
            return
        heapq.heappush(self._heap, (least, segments, next(self._serial), partial, end, slower))
        if self._slack and end < 0 and self._block.is_complete(partial):
            self._whole = partial if self._whole is None else min(self._whole, partial, key=_time_and_segments)


def _time_and_segments(partial: _Partial) -> tuple[int, int]:
    return partial.time, len(partial.ends)


def _rounded(room: int) -> int:
    """Somewhat more room, so that rooms which hardly differ are one: three binary digits."""
    step = 1 << max(room.bit_length() - 3, 0)
    return -(-room // step) * step


def _dominated(known: list[tuple[int, ...]], found: tuple[int, ...]) -> bool:
    """Whether a partial block that came up earlier needs no more of anything; if not, remember this one."""
    for other in known:
        if all(theirs <= ours for theirs, ours in zip(other, found, strict=True)):
            return True
    known.append(found)
    return False
