"""Named rules for choosing a plan: `auto` searches the whole space, each other one is a point of it.

backprop: one block of one segment, at its fastest micro-batch that fits.

classic-local: one block, a segment per unit, the widest profiled head (256 filters) at each, at its fastest micro-batch
that fits.

neuroflux: a segment per unit with preferred filters; consecutive units are grouped into blocks by their feasible
micro-batch, each block trains at the largest that fits, and caches join them. This reconstructs section 5 of NeuroFlux
(arXiv 2402.14139), of which no code is public: the largest feasible micro-batch of every unit alone is found under the
budget; walking from the input, a unit joins the current group while its feasible micro-batch differs by at most
`grouping_threshold` of the group's first, and while the group still fits at some micro-batch; otherwise it opens the
next.

"Per unit" means per boundary that has a profiled head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property, lru_cache

from planner.solver.filters import Widths, preferred_widths, widest_widths
from planner.solver.problem import CLASSIFIER, Choice, Problem
from planner.solver.schema import Strategy
from planner.solver.search import Frontier, choose, fastest, least_storage, smallest
from planner.solver.space import Space
from planner.solver.walk import is_legal, live_bytes, total_ns

Choices = tuple[Choice, ...]
"""A plan: its blocks."""


class Rule(ABC):
    """A strategy applied to a problem. Limits are live bytes."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def plan(self, limit: int) -> Choices | None:
        """The plan that fits; none where there is none."""

    @abstractmethod
    def smallest(self) -> int | None:
        """The least limit with a plan; none where storage is too small at every limit."""

    def storage(self, limit: int) -> int:
        """Storage needed at a limit where some plan fits if storage is not limited (as in this rule's problem)."""
        plan = self.plan(limit) or ()
        return max(self.problem.cache_bytes(choice.first, choice.last) for choice in plan)


class OneBlock(Rule):
    """A single block with given cuts, at its fastest micro-batch that fits."""

    def __init__(self, problem: Problem, widths: Widths) -> None:
        super().__init__(problem)
        ends = tuple(sorted(widths))
        filters = tuple(widths[end] for end in ends)
        choices = [Choice(0, micro_batch, ends, filters) for micro_batch in problem.micro_batches]
        self._legal = {choice: live_bytes(problem, choice).peak for choice in choices if is_legal(problem, choice)}

    def plan(self, limit: int) -> Choices | None:
        """The fastest; of several the largest micro-batch."""
        fitting = [(choice,) for choice, live in self._legal.items() if live <= limit]
        return min(fitting, key=lambda choices: total_ns(self.problem, choices), default=None)

    def smallest(self) -> int | None:
        """Storage plays no part."""
        return min(self._legal.values(), default=None)


class NeuroFlux(Rule):
    """Units grouped by feasible micro-batch."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._widths = preferred_widths(problem)
        self._marks = (0, *problem.boundaries)
        self._sizes = lru_cache(maxsize=None)(self._measure)

    def _measure(self, first: int, end: int) -> tuple[tuple[int, Choice], ...]:
        """Live bytes of a group at every legal micro-batch, the largest first."""
        ends = tuple(mark for mark in self._marks if first < mark <= end)
        filters = tuple(self._widths[end] for end in ends)
        choices = [Choice(first, micro_batch, ends, filters) for micro_batch in self.problem.micro_batches]
        return tuple(
            (live_bytes(self.problem, choice).peak, choice) for choice in choices if is_legal(self.problem, choice)
        )

    def _largest(self, first: int, end: int, limit: int) -> Choice | None:
        return next((choice for live, choice in self._sizes(first, end) if live <= limit), None)

    def plan(self, limit: int) -> Choices | None:
        """Groups from the input on."""
        found: list[Choice] = []
        leader = 0
        for first, end in zip(self._marks, self._marks[1:], strict=False):
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
        fits = all(self.problem.storage_allows(choice.first, choice.last) for choice in found)
        return tuple(found) if fits else None

    def smallest(self) -> int | None:
        """The plan changes only where a group begins to fit, so those limits are all that need trying."""
        marks = self._marks
        spans = [(first, end) for index, first in enumerate(marks) for end in marks[index + 1 :]]
        limits = {live for span in spans for live, _ in self._sizes(*span)}
        return next((limit for limit in sorted(limits) if self.plan(limit) is not None), None)


class Auto(Rule):
    """The search over everything."""

    def __init__(self, problem: Problem, others: dict[Strategy, Rule]) -> None:
        super().__init__(problem)
        self._others = others
        self._space = Space(problem)
        self.frontier = lru_cache(maxsize=None)(self._search)

    def _search(self, limit: int) -> Frontier:
        """The best plan for each number of segments."""
        return fastest(self.problem, self._space, limit) if limit >= 0 else {}

    def plan(self, limit: int) -> Choices | None:
        """What the request prefers.

        Under `speed` another strategy's plan is taken where it is predicted faster still: heads wider than preferred
        are outside the space, and could only win where a profile says that they cost less than narrower ones.
        """
        frontier = self.frontier(limit)
        if not frontier:
            return None
        plans = [choose(frontier, self.problem.request.prefer).choices]
        if self.problem.request.prefer == "speed":
            plans += [plan for rule in self._others.values() if (plan := rule.plan(limit)) is not None]
        return min(plans, key=lambda choices: total_ns(self.problem, choices))

    def smallest(self) -> int:
        """A single block needs no storage, so there is always one."""
        return self._smallest

    @cached_property
    def _smallest(self) -> int:
        return smallest(self.problem, self._space)

    def storage(self, limit: int) -> int:
        """Less than what the preferred plan takes, where another plan takes less."""
        return least_storage(self.problem, self._space, limit)


def make_rules(problem: Problem) -> tuple[Auto, dict[Strategy, Rule]]:
    """`auto`, and every other strategy by name."""
    others: dict[Strategy, Rule] = {
        "backprop": OneBlock(problem, {problem.count: CLASSIFIER}),
        "classic-local": OneBlock(problem, widest_widths(problem)),
        "neuroflux": NeuroFlux(problem),
    }
    return Auto(problem, others), others
