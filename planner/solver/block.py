"""The best cuts of one block: least time for each number of segments, and least live bytes.

Both walk the block's segments from the left, the most promising partial block first. What is still to come is bounded
from below by the same problem with its memory coupling relaxed, so the first complete block that comes up is the best.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from planner.solver.problem import Choice
from planner.solver.space import Base, Edge, Space

_Graph = dict[int, tuple[Edge, ...]]
_Resources = tuple[int, int, int, int]
"""Static bytes, weights, highest dynamic bytes while training, the same while validating."""


class BlockSearch:
    """The cuts of the block [first, end) at one micro-batch under one cap that fit `limit` live bytes."""

    def __init__(self, space: Space, micro_batch: int, cap: int, span: tuple[int, int], base: Base, limit: int) -> None:
        self.first, self.end = span
        self.micro_batch = micro_batch
        self.widths = space.widths[cap]
        self.base = base
        self.limit = limit
        self.graph: _Graph = {}
        train_room = limit - base.static
        validate_room = limit - base.weights
        if base.peak > train_room or base.validate_peak > validate_room:
            return
        for start in range(self.first, self.end):
            leading = start == self.first
            if leading or start in self.widths:
                edges = [edge for edge in space.edges(micro_batch, cap, start, leading) if edge.end < self.end]
                edges.append(space.closing(micro_batch, cap, start, self.end, leading))
                self.graph[start] = tuple(
                    edge
                    for edge in edges
                    if edge.static + edge.peak <= train_room and edge.weights + edge.validate_peak <= validate_room
                )

    def bounds(self) -> dict[int, list[int | None]]:
        """By unit: least time from there to the end in exactly 1, 2, … segments, each of which would fit alone."""
        found: dict[int, list[int | None]] = {}
        for start in sorted(self.graph, reverse=True):
            best: list[int | None] = [None] * (self.end - start)
            for edge in self.graph[start]:
                if edge.end == self.end:
                    best[0] = edge.time
                    continue
                for segments, rest in enumerate(found[edge.end], start=1):
                    if rest is not None:
                        known = best[segments]
                        if known is None or edge.time + rest < known:
                            best[segments] = edge.time + rest
            found[start] = best
        return found

    def fastest(self, segments: int, bounds: dict[int, list[int | None]]) -> tuple[int, Choice] | None:
        """Least time × micro-batch that cuts into so many segments add, and the block; none where nothing fits."""
        bound = bounds[self.first][segments - 1]
        if bound is None:
            return None
        start: _Resources = (self.base.static, self.base.weights, self.base.peak, self.base.validate_peak)
        heap: list[tuple[int, tuple[int, ...], int, _Resources]] = [(bound, (), 0, start)]
        seen: dict[tuple[int, int], list[_Resources]] = {}
        while heap:
            bound, ends, time, used = heapq.heappop(heap)
            place = ends[-1] if ends else self.first
            if place == self.end:
                return time, self._choice(ends)
            if _dominated(seen.setdefault((place, len(ends)), []), used):
                continue
            left = segments - len(ends)
            for edge, after in self._steps(place, used):
                if (edge.end == self.end) != (left == 1):
                    continue
                rest = 0 if left == 1 else bounds[edge.end][left - 2] if left - 2 < self.end - edge.end else None
                if rest is not None:
                    spent = time + edge.time
                    heapq.heappush(heap, (spent + rest, (*ends, edge.end), spent, after))
        return None

    def smallest(self) -> int | None:
        """Least live bytes within the limit, in any number of segments; none where nothing fits."""
        if not self.graph:
            return None
        start: _Resources = (self.base.static, self.base.weights, self.base.peak, self.base.validate_peak)
        heap: list[tuple[int, int, _Resources]] = [(_live(start), -self.first, start)]
        seen: dict[int, list[_Resources]] = {}
        while heap:
            live, negative_place, used = heapq.heappop(heap)
            place = -negative_place
            if place == self.end:
                return live
            if not _dominated(seen.setdefault(place, []), used):
                for edge, after in self._steps(place, used):
                    heapq.heappush(heap, (_live(after), -edge.end, after))
        return None

    def _steps(self, place: int, used: _Resources) -> Iterator[tuple[Edge, _Resources]]:
        static, weights, peak, validate_peak = used
        for edge in self.graph[place]:
            after = (
                static + edge.static,
                weights + edge.weights,
                max(peak, edge.peak),
                max(validate_peak, edge.validate_peak),
            )
            if _live(after) <= self.limit:
                yield edge, after

    def _choice(self, ends: tuple[int, ...]) -> Choice:
        return Choice(self.first, self.micro_batch, ends, tuple(self.widths[end] for end in ends))


def _live(used: _Resources) -> int:
    return max(used[0] + used[2], used[1] + used[3])


def _dominated(known: list[_Resources], used: _Resources) -> bool:
    """Whether a partial block that came up earlier needs no more of anything; if not, remember this one."""
    for other in known:
        if all(theirs <= ours for theirs, ours in zip(other, used, strict=True)):
            return True
    known.append(used)
    return False
