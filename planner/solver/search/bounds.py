"""Lower bounds on every block: what it takes at least, however it is cut and whatever it recomputes.

A bound leaves out what couples a block's segments: a segment is held to the room that its own units, and for the last
one all of the block's, leave free; what it has to shed is priced by `planner.solver.search.recompute_bound`. The search
works out only blocks whose bound is promising.

Blocks are tables over the boundaries where they begin and, one on, where they end; the first trained unit's is one.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from planner.solver.memory_model import fill_ns, read_ns, write_ns
from planner.solver.problem import Source
from planner.solver.search.block import BlockSpan, Reals
from planner.solver.search.recompute_bound import SLACK, RecomputeBound
from planner.solver.search.segment_tables import BatchMode, Integers, SegmentTables, peaks_of

Flags = npt.NDArray[np.bool_]

INF = 2**60
"""Longer than any training that is planned, in nanoseconds; two of them still add up."""

JOINTS: tuple[tuple[Source, bool], ...] = (
    ("data", False), ("data", True), ("recompute", False), ("recompute", True), ("cache", False), ("cache", True),
)  # fmt: skip
"""How a block may be joined to its neighbours."""


_ALL = slice(None)

_KEPT_LIMITS = 2
"""Tables of `BlockBounds._added` in memory: those of one limit, for any number of segments and for so many."""


class Clock:
    """From time × micro-batch of one epoch to the total of a block."""

    def __init__(self, space: SegmentTables, block_span: BlockSpan, micro_batch: int) -> None:
        problem = space.problem
        row = space.row(micro_batch, False)
        self.micro_batch = micro_batch
        self.epochs = problem.epochs_of(block_span.end)
        self.read = read_ns(problem, block_span.first) if block_span.source == "cache" else 0
        self.finish = 0
        if problem.fills(block_span.first, block_span.source):
            self.finish += fill_ns(problem, micro_batch)
        if block_span.caches:
            inference = (
                row.inference_ns[block_span.end]
                - row.inference_ns[0 if block_span.source == "recompute" else block_span.first]
            )
            self.finish += (
                write_ns(problem, block_span.end) + inference * problem.training.cached_samples // micro_batch
            )

    def total(self, time: int) -> int:
        """Nanoseconds of all epochs and what follows them."""
        return self.epochs * max(time // self.micro_batch, self.read) + self.finish

    def longest(self, below: int) -> int:
        """The least time × micro-batch whose total is not below `below`."""
        if self.total(0) >= below:
            return 0
        return (-(-(below - self.finish) // self.epochs)) * self.micro_batch


class _Tables(NamedTuple):
    """All blocks in one batch mode, without what depends on how they are joined."""

    time: Reals
    """Without cuts, in the unit of `Base.time`; infinite where batch normalisation needs a larger micro-batch."""
    static: Integers
    weights: Integers
    peak: Integers
    """The highest unit or head, alone."""
    gradients: Integers
    """Not static; a segment's are alive together."""
    inference: Integers
    """Highest level while validating."""
    running: Integers
    """Highest level of units alone while they run without gradients."""
    cut: Reals
    """By boundary: what a cut adds."""


class _SegmentBounds(NamedTuple):
    """All segments in one batch mode, by the boundaries where they begin and, one on, where they end."""

    boundaries: Integers
    given: Integers
    """By the block's start and the segment's: the input that is held."""
    least: Integers
    """Below this no recomputation brings dynamic bytes."""
    kept: Integers
    """Dynamic bytes when the head runs, nothing recomputed."""
    always: Integers
    """By end: a moment when nothing is held."""
    allowed: Flags
    """Whether there may be such a segment."""
    replay: RecomputeBound
    samples: int

    def cost(self, last: int, low: int, room: Integers) -> Reals:
        """Replays of segments that end at `last`, by the block's start and the segment's, both from `low` on.

        `room`: dynamic bytes of each block. Infinite where no recomputation brings a segment below that.
        """
        size = last + 1 - low
        given = np.where(np.eye(size, dtype=np.bool_), 0, self.given[low : last + 1, low : last + 1])
        needed = np.maximum(given + self.least[low : last + 1, last], self.always[last])
        shed = (given + self.kept[low : last + 1, last] - room[:, None]).astype(np.float64)
        end = self.boundaries[last + 1 : last + 2]
        found = self.samples * self.replay.least(self.boundaries[low : last + 1], end, shed)
        excluded = (needed > room[:, None]) | ~self.allowed[low : last + 1, last]
        found[excluded | np.tri(size, k=-1, dtype=np.bool_)] = np.inf
        return found


class BlockBounds:
    """Bounds of all blocks of a space."""

    def __init__(self, space: SegmentTables) -> None:
        self._space = space
        self._problem = space.problem
        self.count = len(space.block_boundaries) - 1
        """Blocks begin at the boundaries before the last."""
        self._tables = lru_cache(maxsize=None)(self._make_tables)
        self._joint_bytes = lru_cache(maxsize=None)(self._make_joint_bytes)
        self._edges = lru_cache(maxsize=None)(self._make_edges)
        self._kept: OrderedDict[tuple[int, bool], dict[BatchMode, Reals]] = OrderedDict()
        self._writers = lru_cache(maxsize=None)(self._make_writers)
        self.allowed = lru_cache(maxsize=None)(self._make_allowed)
        boundaries = space.block_boundaries.tolist()
        self._reads = np.array(
            [read_ns(self._problem, boundary) if boundary else 0 for boundary in boundaries[:-1]], dtype=np.float64
        )
        self._writes = np.array(
            [*(write_ns(self._problem, boundary) for boundary in boundaries[1:-1]), 0], dtype=np.float64
        )

    def _make_allowed(self, source: Source, caches: bool) -> Flags:
        """Blocks that may be joined so."""
        space, problem = self._space, self._problem
        found: Flags = np.triu(space.allowed[np.ix_(space.block_boundaries[:-1], space.block_boundaries[1:])])
        found &= np.array([source in problem.sources(boundary) for boundary in space.block_boundaries[:-1].tolist()])[
            :, None
        ]
        if caches:
            found[:, -1] = False
        if problem.request.storage_bytes is not None:
            read = [
                problem.cache_bytes(boundary) if source == "cache" else 0
                for boundary in space.block_boundaries[:-1].tolist()
            ]
            written = [
                problem.cache_bytes(boundary) if caches else 0 for boundary in space.block_boundaries[1:].tolist()
            ]
            found &= np.add.outer(np.array(read, dtype=object), np.array(written, dtype=object)) <= (
                problem.request.storage_bytes
            )
        return found

    def _make_tables(self, mode: BatchMode) -> _Tables:
        micro_batch = mode.micro_batch
        space, problem, boundaries = self._space, self._problem, self._space.block_boundaries
        row, sums, heads = space.row(*mode), space.sums(*mode), space.heads(mode)
        starts, ends = boundaries[:-1], boundaries[1:]
        grid = np.ix_(starts, ends)

        def between(values: tuple[int, ...]) -> Integers:
            sums = np.array(values, dtype=np.int64)
            return np.asarray(sums[ends] - sums[starts][:, None])

        timed = [problem.ending_cost(end, space.chosen_heads[end], micro_batch) for end in ends.tolist()]
        samples, steps = float(problem.training.samples), float(micro_batch * problem.steps)
        leading = [row.units[boundary].first_train_ns - row.units[boundary].train_ns for boundary in starts.tolist()]
        time = samples * (between(row.train_ns) + np.array(leading)[:, None] + [head.train_ns for head in timed])
        time += steps * (between(row.step_ns) + [head.step_ns for head in timed])
        illegal = (between(row.too_small) > 0) | ~heads.legal[ends]
        inference = sums.inference[grid]
        alone = np.array([min(_least(*both)) for both in zip(row.first, row.inner, strict=True)], dtype=np.int64)
        return _Tables(
            time=np.where(illegal, np.inf, time),
            static=between(row.static) + heads.closing_static[ends],
            weights=between(row.weights) + heads.closing_weights[ends],
            peak=np.maximum(_running_peak(alone)[grid], heads.top[ends]),
            gradients=between((0, *np.cumsum(row.gradients).tolist())),
            inference=np.maximum(inference, row.made[grid] + heads.inference[ends]),
            running=inference,
            cut=np.array([space.cut_times(micro_batch)[boundary] for boundary in ends.tolist()], dtype=np.float64),
        )

    def _make_joint_bytes(self, micro_batch: int, source: Source) -> Integers:
        """By start: samples, kernels, frozen units."""
        return np.array(
            [self._space.fixed_bytes(micro_batch, boundary, source) if source in self._problem.sources(boundary) else 0
             for boundary in self._space.block_boundaries[:-1].tolist()],
            dtype=np.int64,
        )  # fmt: skip

    def _make_writers(self, micro_batch: int) -> Integers:
        """By end: what writes the cache there."""
        ends = self._space.block_boundaries[1:].tolist()
        return np.array([self._problem.writer_bytes(end, micro_batch) for end in ends], dtype=np.int64)

    def _least_joint(self, micro_batch: int) -> Integers:
        """By start: what a block takes beside units and heads, wherever its input comes from."""
        data, cache, again = (self._joint_bytes(micro_batch, source) for source in ("data", "cache", "recompute"))
        return np.where(self._space.block_boundaries[:-1] == 0, data, np.minimum(cache, again))

    def _added(self, limit: int, most: int | None) -> dict[BatchMode, Reals]:
        """`_make_added`, for `most` segments or more: what is known of many is known of few."""
        key = limit, most is None
        found = self._kept.pop(key, None)
        if found is None or (most is not None and len(next(iter(found.values()))) < most):
            found = self._make_added(limit, most)
        self._kept[key] = found
        if len(self._kept) > _KEPT_LIMITS:
            self._kept.popitem(last=False)
        return found

    def _make_added(self, limit: int, most: int | None) -> dict[BatchMode, Reals]:
        """By batch mode, what cuts and replays add to `_Tables.time`, by most segments (to `most`; or any), start, end.

        Where a mode, were it free of replays, is slower than another one is known to be, that will do as its bound.
        """
        found: dict[BatchMode, Reals] = {}
        fastest = np.full((self.count, self.count), np.inf)
        for mode in self._space.modes():
            tables = self._tables(mode)
            free = self._free(tables)
            quick = (tables.time + free) / mode.micro_batch >= fastest
            found[mode] = added = self._added_at(limit, most, mode, free, quick)
            fastest = np.minimum(fastest, (tables.time + added[0]) / mode.micro_batch)
        return found

    def _free(self, tables: _Tables) -> Reals:
        """All cuts that take less than no time, and no replay."""
        gains = np.concatenate(([0.0], np.cumsum(np.minimum(tables.cut, 0.0))))
        found: Reals = np.minimum(0.0, gains[:-1] - gains[:-1, None])
        return found

    def _added_at(self, limit: int, most: int | None, mode: BatchMode, free: Reals, quick: Flags) -> Reals:
        tables, joint = self._tables(mode), self._least_joint(mode.micro_batch)
        room = limit - joint[:, None] - tables.static
        alive = np.isfinite(tables.time) & (tables.peak <= room) & np.triu(np.ones_like(quick))
        found = np.where(alive, free, np.inf)
        found = np.broadcast_to(found, (1 if most is None else most, *found.shape)).copy()
        edges = self._edges(mode)
        for last in range(self.count):
            rows = np.nonzero(alive[:, last] & ~quick[:, last])[0]
            if len(rows):
                low = int(rows[0])
                cost = edges.cost(last, low, room[low : last + 1, last])
                better = np.full((len(found), last + 1 - low), np.inf)
                _extend(found, cost, tables.cut, low, last, better)
                found[:, rows, last] = better[:, rows - low]
        magnitude = np.abs(tables.cut).sum() + np.where(np.isfinite(tables.time), tables.time, 0)
        return np.asarray(found - SLACK * (np.where(np.isfinite(found), np.abs(found), 0) + magnitude))

    def _make_edges(self, mode: BatchMode) -> _SegmentBounds:
        space, boundaries = self._space, self._space.block_boundaries
        row, sums, heads = space.row(*mode), space.sums(*mode), space.heads(mode)
        peaks = peaks_of(row, sums, heads)
        grid = np.ix_(boundaries[:-1], boundaries[1:])
        return _SegmentBounds(
            boundaries=boundaries,
            given=row.made[np.ix_(boundaries[:-1], boundaries[:-1])],
            least=np.minimum(peaks.least_open, peaks.least_close)[grid],
            kept=sums.kept[grid] + heads.top[boundaries[1:]],
            always=peaks.always[boundaries[1:]],
            allowed=space.allowed[grid],
            replay=space.replay(*mode),
            samples=self._problem.training.samples,
        )

    def total(self, limit: int, most: int | None, source: Source, caches: bool) -> Integers:
        """Nanoseconds of all epochs and what follows them, at least: by most segments (1 to `most`; or any), start and
        end; `INF` where nothing fits."""
        found = np.full((most or 1, self.count, self.count), INF, dtype=np.int64)
        for mode in self._space.modes():
            added = self._added(limit, most)[mode][:most]
            np.minimum(found, self._total_at(mode, added, limit, source, caches, _ALL, _ALL), out=found)
        return found

    def total_of(
        self, limit: int, most: int | None, source: Source, caches: bool, first: int, last: int
    ) -> list[tuple[int, BatchMode]]:
        """The same of one block in at most `most` segments, for every batch mode of its own."""
        found = []
        for mode in self._space.modes():
            rows, columns = slice(first, first + 1), slice(last, last + 1)
            added = self._added(limit, most)[mode][(most or 1) - 1, rows, columns]
            found.append((int(self._total_at(mode, added, limit, source, caches, rows, columns).item()), mode))
        return found

    def _total_at(
        self, mode: BatchMode, added: Reals, limit: int, source: Source, caches: bool, rows: slice, columns: slice
    ) -> Integers:
        """Blocks that begin in `rows` and end in `columns`, in one batch mode; `added` is what `_added` has of them."""
        micro_batch, training = mode.micro_batch, self._problem.training
        starts, ends = self._space.block_boundaries[:-1][rows], self._space.block_boundaries[1:][columns]
        running = np.array(self._space.row(*mode).inference_ns, dtype=np.float64)
        prefix = running[starts] if source == "recompute" else np.zeros(len(starts))
        time = self._tables(mode).time[rows, columns] + added
        time = np.minimum((time + training.samples * prefix[:, None]) / micro_batch, INF)
        epoch = np.floor(time - SLACK * np.abs(time))
        if source == "cache":
            epoch = np.maximum(epoch, self._reads[rows, None])
        total = np.array([self._problem.epochs_of(end) for end in ends.tolist()]) * epoch
        if caches:
            before = 0 if source == "recompute" else running[starts][:, None]
            total = total + np.floor((running[ends] - before) * (1 - SLACK) * training.cached_samples / micro_batch)
            total = total + self._writes[columns]
        if self._is_filled(rows, source):
            total[..., 0, :] += fill_ns(self._problem, micro_batch) * (1 - SLACK)
        fits = self.live_at(source, caches, None, mode, rows, columns) <= limit
        total = np.where(fits & self.allowed(source, caches)[rows, columns], total * (1 - SLACK), np.inf)
        return np.asarray(np.minimum(total, INF), dtype=np.int64)

    def live_at(
        self,
        source: Source,
        caches: bool,
        segments: int | None,
        mode: BatchMode,
        rows: slice = _ALL,
        columns: slice = _ALL,
    ) -> Integers:
        """Live bytes, at least, of blocks that begin in `rows` and end in `columns`, in at most so many segments."""
        tables, part = self._tables(mode), (rows, columns)
        joint = self._joint_bytes(mode.micro_batch, source)[rows, None]
        peak = tables.peak[part]
        if segments is not None:
            peak = np.maximum(peak, -(-tables.gradients[part] // segments))
        validate = tables.inference[part]
        if caches:
            validate = np.maximum(validate, tables.running[part] + self._writers(mode.micro_batch)[columns])
        found = joint + np.maximum(tables.static[part] + peak, tables.weights[part] + validate)
        if self._is_filled(rows, source):
            found[0] = np.maximum(found[0], self._space.fill_bytes(mode.micro_batch))
        return np.where(np.isfinite(tables.time[part]) & self.allowed(source, caches)[part], found, INF)

    def _is_filled(self, rows: slice, source: Source) -> bool:
        """Whether the first of these blocks reads a cache that frozen units have to fill."""
        return not rows.start and self._problem.fills(self._problem.start, source)


def _extend(found: Reals, cost: Reals, cut: Reals, low: int, last: int, better: Reals) -> None:
    """Blocks from `low` on that end at `last`: one segment more than those that end where the last segment begins.

    `found` has the shorter blocks, by most segments (or one entry for any number), start and end.
    """
    rows = slice(low, last + 1)
    if len(found) == 1:
        shorter = np.full(cost.shape, np.inf)
        shorter[:, 1:] = found[0, rows, low:last] + cut[low:last]
        np.fill_diagonal(shorter, 0.0)
        better[0] = (shorter + cost).min(axis=1)
        return
    better[0] = np.diagonal(cost)
    for fewer in range(len(found) - 1):
        longer = (found[fewer, rows, low:last] + cut[low:last] + cost[:, 1:]).min(axis=1, initial=np.inf)
        better[fewer + 1] = np.minimum(better[fewer], longer)


def _least(first: tuple[int, int, int, int], inner: tuple[int, int, int, int]) -> tuple[int, int]:
    lowest = [max(forward, min(backward, held)) for forward, _, backward, held in (first, inner)]
    return lowest[0], lowest[1]


def _running_peak(levels: Integers) -> Integers:
    """The highest unit of each segment."""
    count = len(levels)
    table = np.zeros((count, count + 1), dtype=np.int64)
    table[:, 1:] = np.maximum.accumulate(np.triu(np.broadcast_to(levels, (count, count))), axis=1)
    return table
