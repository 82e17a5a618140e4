"""Blocks chained into plans: the best time for every number of segments, and the least live bytes.

Exact over block boundaries × cuts × micro-batch × cap of widths. Blocks touch only through the caches between them,
whose record size depends on the boundary alone, so each block is solved by itself and a shortest path joins them.

Ties are broken by fewer segments, fewer blocks, larger micro-batches, then boundaries that come first; within a block
by the larger micro-batch, then the wider cap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from planner.solver.block import BlockSearch
from planner.solver.problem import Choice, Problem
from planner.solver.schema import Preference
from planner.solver.space import Base, Space
from planner.solver.walk import finish_ns, read_ns

BALANCED_TENTHS = 11
"""`balanced` takes plans of at most this many tenths of the least time."""


class Candidate(NamedTuple):
    """A plan, in the order in which plans of one number of segments are preferred."""

    time: int
    """Nanoseconds to the end of training, at preferred widths."""
    blocks: int
    smaller: tuple[int, ...]
    """Micro-batches, negated."""
    bounds: tuple[int, ...]
    choices: tuple[Choice, ...]


Frontier = dict[int, Candidate]
"""The best plan for each number of segments."""


def fastest(problem: Problem, space: Space, limit: int) -> Frontier:
    """The best plan within `limit` live bytes for each number of segments that has one."""
    found: list[Frontier] = [{} for _ in range(problem.count + 1)]
    found[0][0] = Candidate(0, 0, (), (), ())
    for first, end in _spans(problem):
        if found[first] and problem.storage_allows(first, end):
            _extend(found[first], found[end], _fastest_blocks(problem, space, (first, end), limit))
    return found[problem.count]


def _extend(before: Frontier, after: Frontier, blocks: dict[int, tuple[int, Choice]]) -> None:
    for count, (time, choice) in blocks.items():
        for segments, plan in before.items():
            longer = Candidate(
                plan.time + time,
                plan.blocks + 1,
                (*plan.smaller, -choice.micro_batch),
                (*plan.bounds, choice.last),
                (*plan.choices, choice),
            )
            known = after.get(segments + count)
            if known is None or longer[:4] < known[:4]:
                after[segments + count] = longer


def _fastest_blocks(problem: Problem, space: Space, span: tuple[int, int], limit: int) -> dict[int, tuple[int, Choice]]:
    """By number of segments: least total time of the block, and its choice."""
    found: dict[int, tuple[int, Choice]] = {}
    for micro_batch, cap, base in _bases(problem, space, span):
        search = BlockSearch(space, micro_batch, cap, span, base, limit)
        bounds = search.bounds()
        clock = _Clock(problem, space, span, micro_batch)
        for segments, bound in enumerate(bounds.get(span[0], ()), start=1):
            known = found.get(segments)
            if bound is None or (known and clock.total(base, bound) >= known[0]):
                continue
            best = search.fastest(segments, bounds)
            if best is not None:
                total = clock.total(base, best[0])
                if known is None or total < known[0]:
                    found[segments] = total, best[1]
    return found


class _Clock:
    """From time × micro-batch of one epoch to the total of a block."""

    def __init__(self, problem: Problem, space: Space, span: tuple[int, int], micro_batch: int) -> None:
        first, end = span
        inference = sum(problem.unit_cost(unit, micro_batch).inference_ns for unit in range(first, end))
        self.micro_batch = micro_batch
        self.epochs = problem.training.epochs
        self.read = read_ns(problem, first)
        self.finish = finish_ns(problem, end, inference, micro_batch)

    def total(self, base: Base, cuts: int) -> int:
        """Nanoseconds of all epochs and what follows them."""
        return self.epochs * max((base.time + cuts) // self.micro_batch, self.read) + self.finish


def choose(frontier: Frontier, prefer: Preference) -> Candidate:
    """The plan that a preference takes from a frontier that is not empty."""
    if prefer == "fidelity":
        return frontier[min(frontier)]
    least = min(plan.time for plan in frontier.values())
    allowed = least * BALANCED_TENTHS // 10 if prefer == "balanced" else least
    return frontier[min(segments for segments, plan in frontier.items() if plan.time <= allowed)]


def smallest(problem: Problem, space: Space) -> int:
    """The least live bytes of any plan within the storage asked for."""
    spans = [span for span in _spans(problem) if problem.storage_allows(*span)]
    least = {span: live for span in spans if (live := _uncut(problem, space, span)) is not None}
    best = _minimax(least, problem.count)
    for span in spans:
        below = _smallest_block(problem, space, span, best - 1)
        if below is not None:
            least[span] = below
    return _minimax(least, problem.count)


def least_storage(problem: Problem, space: Space, limit: int) -> int:
    """The least storage with which some plan fits `limit` live bytes, which one does if storage is not limited."""
    fitting = [span for span in _spans(problem) if _smallest_block(problem, space, span, limit) is not None]
    return _minimax({span: problem.cache_bytes(*span) for span in fitting}, problem.count)


def _spans(problem: Problem) -> list[tuple[int, int]]:
    starts = (0, *problem.boundaries)
    return [(first, end) for end in problem.boundaries for first in starts if first < end]


def _bases(problem: Problem, space: Space, span: tuple[int, int]) -> Iterator[tuple[int, int, Base]]:
    """Legal micro-batches and caps of a block."""
    for micro_batch in problem.micro_batches:
        for cap in range(len(space.widths)):
            base = space.base(micro_batch, cap, *span)
            if base is not None:
                yield micro_batch, cap, base


def _uncut(problem: Problem, space: Space, span: tuple[int, int]) -> int | None:
    """Least live bytes of a block of one segment."""
    found = []
    for micro_batch, cap, base in _bases(problem, space, span):
        edge = space.closing(micro_batch, cap, *span, True)
        train = base.static + max(base.peak, edge.peak)
        found.append(max(train, base.weights + max(base.validate_peak, edge.validate_peak)))
    return min(found, default=None)


def _smallest_block(problem: Problem, space: Space, span: tuple[int, int], limit: int) -> int | None:
    """Least live bytes of a block, however cut, if they fit `limit`."""
    best: int | None = None
    for micro_batch, cap, base in _bases(problem, space, span):
        live = BlockSearch(space, micro_batch, cap, span, base, limit).smallest()
        if live is not None:
            best, limit = live, live - 1
    return best


def _minimax(costs: dict[tuple[int, int], int], count: int) -> int:
    """Least possible highest cost of spans that join up to [0, count)."""
    found = {0: 0}
    for (first, end), cost in sorted(costs.items(), key=lambda item: item[0][1]):
        if first in found:
            highest = max(found[first], cost)
            found[end] = min(found.get(end, highest), highest)
    return found[count]
