"""Blocks chained into plans: the least time for every number of segments, the least live bytes, the least storage.

Exact over block boundaries × cuts × recomputed spans × micro-batch × optimizer in backward × where each block's input
comes from. Blocks touch only in whether a cache lies between them, so each is solved by itself and a shortest path
joins them (`planner.solver.search.path`): over lower bounds first; blocks on the best path are worked out, and it is
sought again until every block on it is exact. What remains is the best, for no other path is even promising.

A tolerance ends the search earlier: when the best plan found is within that share of the best path over bounds, which
no plan can beat.

Of equal plans one is chosen by a fixed order, so that the same question always has the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from planner.solver.problem import BlockChoice, Problem, Source
from planner.solver.search.block import INF_TIME, BlockSearch, BlockSpan
from planner.solver.search.bounds import INF, BlockBounds, Clock
from planner.solver.search.path import Costs, Edge, LazyPath
from planner.solver.search.segment_tables import BatchMode, SegmentTables
from planner.solver.search.spans import RecomputeFrontier

Choices = tuple[BlockChoice, ...]
"""A plan: its blocks."""


_FIRST_COUNT = 4
"""Plans of few segments are sought among so many first, then among twice as many, and so on."""


_WITHIN = 0.99
"""Of the tolerance, what blocks may use up: a plan of such blocks is within it, whatever has been rounded."""


class Effort(NamedTuple):
    """How far a search goes."""

    tolerance: float = 0.0
    """A plan that is slower than the best one by at most this share of its own time will do."""
    rounds: int | None = None
    """Paths that are worked out for one number of segments before the next one is tried; none: until it is settled."""
    block_segments: int | None = None
    """Most segments of a block, where segments are counted; none: any number."""


EXACT = Effort()


class SearchResult(NamedTuple):
    """A plan and its time."""

    time: int
    """Nanoseconds to the end of training."""
    choices: Choices
    least: int
    """No plan that was sought (of as few segments, where they are counted) takes less."""

    @property
    def segments(self) -> int:
        """Of all blocks together."""
        return sum(len(choice.ends) for choice in self.choices)


class TimedResult(NamedTuple):
    """What is known of a block in at most so many segments."""

    time: int
    """Its total; where there is no choice, what it is not below."""
    choice: BlockChoice | None
    least: int
    """No way through it takes less."""


class Search:
    """The plans of a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.space = SegmentTables(problem)
        self._frontiers = RecomputeFrontier(self.space)
        self._bounds = BlockBounds(self.space)
        self._block_boundaries: list[int] = self.space.block_boundaries.tolist()
        self._index = {boundary: index for index, boundary in enumerate(self._block_boundaries)}

    def fastest(self, limit: int, segments: int | None, below: int = INF_TIME, effort: Effort = EXACT) -> SearchResult:
        """The fastest plan within `limit` live bytes and `segments`, if it takes less than `below`.

        Else one of no blocks, which knows the least that a plan takes.
        """
        path = self._timed_path(limit, segments, effort)
        exact: dict[Edge, TimedResult] = {}
        share = effort.tolerance * _WITHIN
        best = SearchResult(min(below, INF), (), 0)
        while True:
            least, steps = path.best()
            if least >= (best.time * (1 - effort.tolerance) if best.choices else best.time):
                return best._replace(least=min(least, best.time) if best.choices else least)
            found = self._worked_out(path, steps, exact, limit, best.time - least, share)
            if found is not None and found.time < best.time:
                best = found

    def fewest(self, limit: int, segments: int, below: int, effort: Effort = EXACT) -> SearchResult | None:
        """The fastest plan in the fewest segments, at most so many, in which one takes less than `below`."""
        counted = min(segments, effort.block_segments or _FIRST_COUNT)
        while True:
            found = self._fewest(limit, counted, min(below, INF), effort)
            if found is not None or counted >= segments:
                return found
            counted = min(segments, 2 * counted)

    def _fewest(self, limit: int, segments: int, below: int, effort: Effort) -> SearchResult | None:
        path = self._timed_path(limit, segments, effort)
        exact: dict[Edge, TimedResult] = {}
        rounds, floor = 0, 1
        best: SearchResult | None = None
        while True:
            lowest, least, used = path.fewest(below, floor)
            if used is None or (best is not None and used > best.segments):
                return best
            if used > floor:
                rounds, floor = 0, used
            room, share = below - lowest, effort.tolerance * _WITHIN
            found = self._worked_out(path, path.steps_in(used), exact, limit, room, share)
            if found is not None and found.time < below:
                if best is None or (found.segments, found.time) < (best.segments, best.time):
                    best = found
                best = best._replace(least=least)
                if best.segments <= used and least >= best.time * (1 - effort.tolerance):
                    return best
            rounds += 1
            if effort.rounds is not None and rounds >= effort.rounds:
                if best is not None and best.segments <= used:
                    return best
                floor = used + 1

    def _timed_path(self, limit: int, segments: int | None, effort: Effort) -> LazyPath:
        """Over bounds; of a long chain's blocks only those in a few segments, where segments are counted."""
        most = self._most(segments)
        within = most if most is None or effort.block_segments is None else min(most, effort.block_segments)
        return LazyPath(self._costs(partial(self._bounds.total, limit, within)), most)

    def _most(self, segments: int | None) -> int | None:
        """As many segments as a chain can have at all."""
        return None if segments is None else min(segments, self._bounds.count)

    def _worked_out(
        self, path: LazyPath, steps: list[Edge], exact: dict[Edge, TimedResult], limit: int, room: int, share: float
    ) -> SearchResult | None:
        """The plan along a path, whose blocks are worked out as far as they are not; none where one fits nowhere.

        `room`: what a block may take beyond what is known of it; with more, no path through it is of any use. `share`:
        of what is known, by which a block may be slower than its best.
        """
        for step in steps:
            if step not in exact:
                known = path.cost(step)
                block_span, slack = self._block_span(step), int(share * known)
                exact[step] = self.fastest_block(block_span, limit, step.segments, known + room, slack=slack)
                path.learn(step, min(exact[step].least, INF))
        found = [exact[step] for step in steps]
        choices = tuple(one.choice for one in found if one.choice is not None)
        return SearchResult(sum(one.time for one in found), choices, 0) if len(choices) == len(steps) else None

    def smallest(self, segments: int | None) -> int | None:
        """The least live bytes of any plan in at most so many segments; none where storage is too small for all."""
        most = self._most(segments)
        return self._lowest(
            partial(self._least_live, most),
            most,
            lambda step: min(self.smallest_block(self._block_span(step), INF, step.segments), INF),
        )

    def least_storage(self, limit: int, segments: int | None) -> int | None:
        """The least storage with which some plan fits `limit` live bytes; none where none does at any storage."""

        def exact(step: Edge) -> int | None:
            fits = self.smallest_block(self._block_span(step), limit, step.segments) <= limit
            return None if fits else INF

        most = self._most(segments)
        return self._lowest(partial(self._stored, limit, most), most, exact)

    def _lowest(
        self, table: Callable[[Source, bool], Costs], most: int | None, exact: Callable[[Edge], int | None]
    ) -> int | None:
        """The least that the highest block of a path costs, `table` bounding all blocks; none where there is no path.

        `exact` says what a block costs in truth; none: as the table has it.
        """
        path = LazyPath(self._costs(table), most, np.maximum)
        known: set[Edge] = set()
        while True:
            highest, steps = path.best()
            unknown = [step for step in steps if step not in known]
            if highest >= INF or not unknown:
                return None if highest >= INF else highest
            known.update(unknown)
            for step in unknown:
                if (cost := exact(step)) is not None:
                    path.learn(step, cost)

    def _costs(self, table: Callable[[Source, bool], Costs]) -> Costs:
        """By whether a cache is read and written: a table of blocks."""
        joined: list[list[Costs]] = []
        for cached in (False, True):
            sources: tuple[Source, ...] = ("cache",) if cached else ("data", "recompute")
            joined.append(
                [np.minimum.reduce([table(source, caches) for source in sources]) for caches in (False, True)]
            )
        return np.array(joined, dtype=np.int64)

    def _least_live(self, most: int | None, source: Source, caches: bool) -> Costs:
        counts = (None,) if most is None else range(1, most + 1)
        return np.array(
            [
                np.minimum.reduce([self._bounds.live_at(source, caches, count, mode) for mode in self.space.modes()])
                for count in counts
            ]
        )

    def _stored(self, limit: int, most: int | None, source: Source, caches: bool) -> Costs:
        boundaries = self._block_boundaries
        fits = self._least_live(most, source, caches) <= limit
        stored = [
            [self.problem.stored_bytes(first, end, source, caches) if first < end else INF for end in boundaries[1:]]
            for first in boundaries[:-1]
        ]
        return np.where(fits, np.array(stored, dtype=np.int64), INF)

    def _block_span(self, step: Edge) -> BlockSpan:
        first = self._block_boundaries[step.first]
        source: Source = "cache" if step.cached else "recompute" if first else "data"
        return BlockSpan(first, self._block_boundaries[step.last + 1], source, step.caches)

    def fastest_block(
        self, block_span: BlockSpan, limit: int, at_most: int | None, below: int, stepping: bool = True, slack: int = 0
    ) -> TimedResult:
        """The fastest way through a block, if it takes less than `below`.

        `stepping` allows the optimizer in backward. With `slack`, a way that takes so much more than the best will do.
        """
        best = TimedResult(below, None, below)
        first, last = self._index[block_span.first], self._index[block_span.end] - 1
        most = self._most(at_most)
        found = self._bounds.total_of(limit, most, block_span.source, block_span.caches, first, last)
        for least, mode in sorted(found, key=_largest_first):
            if least >= min(best.time, INF):
                break
            if mode.stepping and not stepping:
                continue
            best = self._fastest_in_mode(block_span, mode, limit, at_most, best, slack)
        return best

    def _modes(self, stepping: bool) -> list[BatchMode]:
        return [mode for mode in self.space.modes() if stepping or not mode.stepping]

    def _fastest_in_mode(
        self, block_span: BlockSpan, mode: BatchMode, limit: int, at_most: int | None, best: TimedResult, slack: int
    ) -> TimedResult:
        base = self.space.base(mode, *block_span)
        if base is None:
            return best
        clock = Clock(self.space, block_span, mode.micro_batch)
        search = BlockSearch(self.space, self._frontiers, mode, block_span, base, limit)
        below = clock.longest(best.time) - base.time
        found = search.fastest(at_most, below, slack * mode.micro_batch // clock.epochs)
        if found is None:
            return best
        least = min(clock.total(base.time + found.least), best.least)
        return TimedResult(clock.total(base.time + found.time), found.choice, least)

    def smallest_block(self, block_span: BlockSpan, limit: int, at_most: int | None, stepping: bool = True) -> int:
        """Least live bytes of a block, however cut, if they fit `limit`; `INF_TIME` where they do not."""
        best = INF_TIME
        first, last = self._index[block_span.first], self._index[block_span.end] - 1
        found = []
        for mode in self._modes(stepping):
            live = self._bounds.live_at(block_span.source, block_span.caches, at_most, mode)[first, last]
            found.append((int(live), mode))
        for live, mode in sorted(found, key=_largest_first):
            if live >= min(best, limit + 1):
                break
            base = self.space.base(mode, *block_span)
            if base is not None:
                room = min(best - 1, limit)
                least = BlockSearch(self.space, self._frontiers, mode, block_span, base, room).smallest(at_most)
                best = best if least is None else least
        return best


def _largest_first(found: tuple[int, BatchMode]) -> tuple[int, int, bool]:
    """By what is known, and of equals the larger micro-batch."""
    least, mode = found
    return least, -mode.micro_batch, mode.stepping
