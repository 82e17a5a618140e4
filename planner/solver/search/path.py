"""The best path over blocks whose costs are partly lower bounds, found again as they become exact.

A node is a boundary of the chain (an index into those where blocks may begin or end), and whether a cache lies there;
with segments counted also how many were used. Costs are a table by whether the block reads a cache, whether it writes
one, its most segments, its first boundary and its last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.solver.search.bounds import INF

Costs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Edge(NamedTuple):
    """A block on a path."""

    cached: bool
    """Whether it reads a cache."""
    caches: bool
    """Whether it writes one."""
    first: int
    """Mark where it begins."""
    last: int
    """Mark before that where it ends."""
    segments: int | None
    """Most segments; none: any number."""


class LazyPath:
    """Paths over a table of costs, joined by addition or by the larger one."""

    def __init__(self, costs: Costs, most: int | None, join: Callable[..., Any] = np.add) -> None:
        """`most`: segments of a path; none: any number."""
        self._costs = costs
        self._most = most
        self._join = join
        self._count = costs.shape[-1]
        self._taken: Costs = np.zeros(0, dtype=np.int64)
        self._finite: Flags = np.any(costs < INF, axis=0)
        """By whether a cache is written, segments, first and last boundary: whether there is such a block."""
        self._worth: Flags = np.ones_like(self._finite)
        self._worth[:, 1:] = np.any(costs[:, :, 1:] < costs[:, :, :-1], axis=0)
        """The same: whether so many segments are better than one less."""
        self._low = np.where(np.any(self._finite, axis=1), np.arange(self._count)[:, None], self._count).min(axis=1)
        """By whether a cache is written, and last boundary: the lowest first boundary."""

    def cost(self, step: Edge) -> int:
        """What is known of a block."""
        return int(self._costs[*self._block_span(step)])

    def learn(self, step: Edge, cost: int) -> None:
        """The exact cost of a block, or a better bound; it bounds the block in fewer segments too."""
        cached, caches, count, first, last = self._block_span(step)
        self._costs[cached, caches, count, first, last] = cost
        fewer = self._costs[cached, caches, :count, first, last]
        np.maximum(fewer, cost, out=fewer)
        self._worth[caches, count : count + 2, first, last] = True

    def _block_span(self, step: Edge) -> tuple[int, int, int, int, int]:
        return int(step.cached), int(step.caches), (step.segments or 1) - 1, step.first, step.last

    def best(self) -> tuple[int, list[Edge]]:
        """The least cost of a path to the end, and its blocks; `INF` where there is none."""
        least, taken = self._nodes()
        used = int(least[0, -1].argmin())
        cost = int(least[0, -1, used])
        return cost, self._steps(taken, used) if cost < INF else []

    def fewest(self, below: int, floor: int) -> tuple[int, int, int | None]:
        """The least cost of all; that in the fewest segments, `floor` or more, that is below `below`, and how many."""
        least, self._taken = self._nodes()
        ends = least[0, -1]
        enough = np.nonzero(ends[floor:] < below)[0]
        used = int(enough[0]) + floor if len(enough) else None
        return int(ends.min()), int(ends[used or 0]), used

    def steps_in(self, used: int) -> list[Edge]:
        """The blocks of the path that `fewest` found last."""
        return self._steps(self._taken, used)

    def _nodes(self) -> tuple[Costs, Costs]:
        """The least cost to every node; how it is reached: segments, and the node before (cached × count + index)."""
        used = 1 if self._most is None else self._most + 1
        least = np.full((2, self._count + 1, used), INF, dtype=np.int64)
        least[:, 0, 0] = 0  # frozen units may leave a cache before the first block
        taken = np.full((2, self._count + 1, used, 2), -1, dtype=np.int64)
        for last in range(self._count):
            for caches in (0, 1):
                self._reach(least, taken, last, caches)
        return least, taken

    def _reach(self, least: Costs, taken: Costs, last: int, caches: int) -> None:
        """The nodes behind all blocks that end one on."""
        low, before = int(self._low[caches, last]), last + 1
        if low > last:
            return
        if self._most is None:
            found = self._join(least[:, low:before, 0], self._costs[:, caches, 0, low:before, last])
            cached, first = divmod(int(found.argmin()), before - low)
            least[caches, before, 0] = min(int(found[cached, first]), INF)
            taken[caches, before, 0] = 0, cached * before + first + low
            return
        counts = np.nonzero((self._worth & self._finite)[caches, : self._most, low:before, last].any(axis=1))[0]
        if not len(counts):
            return
        used = np.arange(self._most + 1) - counts[:, None] - 1
        earlier = np.where(used >= 0, least[:, low:before][:, :, used], INF)
        costs = self._costs[:, caches, :, low:before, last][:, counts]
        found = self._join(earlier, costs.transpose(0, 2, 1)[..., None])
        found = found.reshape(-1, self._most + 1)
        best = found.argmin(axis=0)
        least[caches, before] = np.minimum(found[best, np.arange(self._most + 1)], INF)
        node, count = np.divmod(best, len(counts))
        cached, first = np.divmod(node, before - low)
        taken[caches, before, :, 0] = counts[count] + 1
        taken[caches, before, :, 1] = cached * before + first + low

    def _steps(self, taken: Costs, used: int) -> list[Edge]:
        found: list[Edge] = []
        caches, boundary = 0, self._count
        while boundary:
            segments, node = taken[caches, boundary, used].tolist()
            cached, first = divmod(node, boundary)
            found.append(Edge(bool(cached), bool(caches), first, boundary - 1, segments or None))
            caches, boundary, used = cached, first, used - segments
        return found[::-1]
