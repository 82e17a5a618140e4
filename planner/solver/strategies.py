"""Named rules for choosing a plan: each is a point of the space that `planner.solver.auto` searches whole.

backprop: one block of one segment, at its fastest micro-batch that fits.

checkpoint: the same with recomputation: of all sets of spans that fit, the one that costs least time.

classic-local: one block, a segment per unit, the widest profiled head (256 filters) at each, at its fastest micro-batch
that fits.

neuroflux: a segment per unit with preferred filters; consecutive units are grouped into blocks by their feasible
micro-batch, each block trains at the largest that fits, and caches join them. This reconstructs section 5 of NeuroFlux
(arXiv 2402.14139), of which no code is public: the largest feasible micro-batch of every unit alone is found under the
budget; walking from the input, a unit joins the current group while its feasible micro-batch differs by at most
`grouping_threshold` of the group's first, and while the group still fits at some micro-batch; otherwise it opens the
next.

"Per unit" means per boundary that has a profiled head; units that extract no features, such as the classifier, join the
segment before them. Units that are frozen belong to no block; what a single block
reads behind them is a cache or made anew, whichever is better, and neuroflux always caches it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from itertools import pairwise

from planner.schema.request import Strategy
from planner.solver.memory_model import is_legal, live_bytes, stored_bytes, total_ns
from planner.solver.problem import CLASSIFIER, BlockChoice, Problem
from planner.solver.search.block import INF_TIME, BlockSpan
from planner.solver.search.bounds import INF
from planner.solver.search.heads import Heads, heads_of_segments, preferred_heads, widest_heads
from planner.solver.search.search import Choices, Search


class StrategyPlanner(ABC):
    """A strategy applied to a problem. Limits are live bytes."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @property
    @abstractmethod
    def ends(self) -> tuple[int, ...]:
        """Where segments end, in every plan of it."""

    @property
    def cuts(self) -> int:
        """Boundaries where gradient stops."""
        return len(self.ends) - 1

    @abstractmethod
    def plan(self, limit: int) -> Choices | None:
        """The plan that fits; none where there is none."""

    @abstractmethod
    def smallest(self) -> int | None:
        """The least limit with a plan; none where storage is too small at every limit."""

    def storage(self, limit: int) -> int:
        """Storage needed at a limit where some plan fits if storage is not limited (as in this rule's problem)."""
        return max(stored_bytes(self.problem, choice) for choice in self.plan(limit) or ())


class OneBlock(StrategyPlanner):
    """A single block with given cuts, at its fastest micro-batch that fits."""

    def __init__(self, problem: Problem, chosen: Heads) -> None:
        super().__init__(problem)
        ends = tuple(sorted(chosen))
        heads = tuple(chosen[end] for end in ends)
        first = problem.start
        choices = [
            BlockChoice(first, micro_batch, ends, heads, source=source, windows=problem.windows(ends))
            for micro_batch in problem.micro_batches
            for source in problem.sources(first)
            if problem.storage_allows(first, problem.count, source, False)
        ]
        self._ends = ends
        self._legal = {choice: live_bytes(problem, choice).peak for choice in choices if is_legal(problem, choice)}

    @property
    def ends(self) -> tuple[int, ...]:
        return self._ends

    def plan(self, limit: int) -> Choices | None:
        """The fastest; of several the largest micro-batch."""
        fitting = [(choice,) for choice, live in self._legal.items() if live <= limit]
        return min(fitting, key=lambda choices: total_ns(self.problem, choices), default=None)

    def smallest(self) -> int | None:
        """What is made anew needs no storage."""
        return min(self._legal.values(), default=None)


class Checkpoint(StrategyPlanner):
    """A single segment whose spans are recomputed as far as memory asks for it."""

    def __init__(self, problem: Problem, search: Search, caches: bool = True) -> None:
        """`caches`: whether it may read what frozen units have left in a cache."""
        super().__init__(problem)
        self._search = search
        first = problem.start
        self._spans = [
            BlockSpan(first, problem.count, source, False)
            for source in problem.sources(first)
            if (caches or source != "cache") and problem.storage_allows(first, problem.count, source, False)
        ]

    @property
    def ends(self) -> tuple[int, ...]:
        return (self.problem.count,)

    def plan(self, limit: int) -> Choices | None:
        """The fastest."""
        found = [self._search.fastest_block(span, limit, 1, INF_TIME, stepping=False) for span in self._spans]
        choice = min(found, key=lambda timed: timed.time).choice
        return None if choice is None else (choice,)

    def smallest(self) -> int | None:
        """What is made anew needs no storage."""
        least = min(self._search.smallest_block(span, INF, 1, stepping=False) for span in self._spans)
        return None if least == INF_TIME else least


class NeuroFlux(StrategyPlanner):
    """Units grouped by feasible micro-batch."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._heads = heads_of_segments(problem, preferred_heads(problem))
        self._block_boundaries = (problem.start, *problem.narrow_boundaries)
        self._sizes = lru_cache(maxsize=None)(self._measure)

    def _measure(self, first: int, end: int) -> tuple[tuple[int, BlockChoice], ...]:
        """Live bytes of a group at every legal micro-batch, the largest first."""
        ends = tuple(boundary for boundary in self._block_boundaries if first < boundary <= end)
        heads = tuple(self._heads[end] for end in ends)
        choices = [
            BlockChoice(
                first,
                micro_batch,
                ends,
                heads,
                source="cache" if first else "data",
                caches=end < self.problem.count,
                windows=self.problem.windows(ends),
            )
            for micro_batch in self.problem.micro_batches
        ]
        return tuple(
            (live_bytes(self.problem, choice).peak, choice) for choice in choices if is_legal(self.problem, choice)
        )

    def _largest(self, first: int, end: int, limit: int) -> BlockChoice | None:
        return next((choice for live, choice in self._sizes(first, end) if live <= limit), None)

    @property
    def ends(self) -> tuple[int, ...]:
        return self._block_boundaries[1:]

    def plan(self, limit: int) -> Choices | None:
        """Groups from the input on."""
        found: list[BlockChoice] = []
        leader = 0
        for first, end in zip(self._block_boundaries, self._block_boundaries[1:], strict=False):
            alone = self._largest(first, end, limit)
            if alone is None:
                return None
            joint = self._largest(found[-1].first, end, limit) if found else None
            near = abs(alone.micro_batch - leader) <= self.problem.request.grouping_threshold * leader
            if joint is not None and near:
                found[-1] = joint
            else:
                found.append(alone)
                leader = alone.micro_batch
        storage = self.problem.request.storage_bytes
        fits = storage is None or all(stored_bytes(self.problem, choice) <= storage for choice in found)
        return tuple(found) if fits else None

    def smallest(self) -> int | None:
        """Where every unit fits alone, unless the caches are too large for the storage: then a larger limit may help.

        The plan changes only where a group begins to fit, so those limits are all that need trying.
        """
        boundaries = self._block_boundaries
        alone = [[live for live, _ in self._sizes(*span)] for span in pairwise(boundaries)]
        if not all(alone):
            return None
        least = max(map(min, alone))
        if self.plan(least) is not None:
            return least
        spans = [(first, end) for index, first in enumerate(boundaries) for end in boundaries[index + 1 :]]
        limits = {live for span in spans for live, _ in self._sizes(*span) if live > least}
        return next((limit for limit in sorted(limits) if self.plan(limit) is not None), None)


def make_planners(problem: Problem, search: Search) -> dict[Strategy, StrategyPlanner]:
    """Every strategy but `auto`, by name."""
    widest = heads_of_segments(problem, widest_heads(problem))
    return {
        "backprop": OneBlock(problem, {problem.count: CLASSIFIER}),
        "checkpoint": Checkpoint(problem, search),
        "classic-local": OneBlock(problem, {end: widest[end] for end in problem.narrow_boundaries}),
        "neuroflux": NeuroFlux(problem),
    }
