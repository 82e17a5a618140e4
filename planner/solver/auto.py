"""The search over everything, under what a person prefers: accuracy against time, over every allocator policy, and over
every kind of head and with windows or without where these are left open.

Also answers for the other strategies, so that all are compared at the same budget, each under its faster policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, get_args

from planner.errors import InputError
from planner.schema.prediction import LossPoints
from planner.schema.profile import Profile
from planner.schema.request import Request, Strategy
from planner.solver.memory_model import total_ns
from planner.solver.policies import policies_of
from planner.solver.polish import PolishChoice, PolishPlanner, polish_ns
from planner.solver.problem import BlockChoice, Problem
from planner.solver.search.block import INF_TIME
from planner.solver.search.search import EXACT, Choices, Effort, Search, SearchResult
from planner.solver.settings import settings_of
from planner.solver.strategies import StrategyPlanner, make_planners
from planner.solver.windows import with_windows
from planner.units import counted_cuts

BALANCED_TENTHS = 11
"""`balanced` takes plans of at most this many tenths of the least time."""

EXACT_UNITS = 50
"""Longer chains are searched until no plan can be faster by more than `_TOLERANCE`."""

_SETTLED_UNITS = 24
"""Of longer chains, plans of few cuts are sought along `_ROUNDS // units` paths for every number of cuts: fewer may be
possible, and `optimality_gap` says by how much a plan of as few may be faster."""

_ROUNDS = 1000

_TOLERANCE = 0.0099
"""As a share of the plan's time: less than 1 % of the faster one's."""

_ROUNDS_ASIDE = 2
"""For plans that are not chosen, `Effort.rounds`."""

OTHERS: tuple[Strategy, ...] = tuple(strategy for strategy in get_args(Strategy) if strategy != "auto")


class Solution(NamedTuple):
    """A plan, and the problem (and so the allocator policy) it solves."""

    problem: Problem
    choices: Choices
    gap: float = 0.0
    """By how much a plan of as few cuts may be faster at most, as a share of its time."""
    polish: BlockChoice | None = None
    """The end-to-end training that ends it, where that is asked for."""

    @property
    def stages(self) -> Choices:
        """What is trained one after another: the blocks, and the polish as one more."""
        return self.choices if self.polish is None else (*self.choices, self.polish)

    @property
    def time_ns(self) -> int:
        """To the end of training."""
        return total_ns(self.problem, self.choices) + polish_ns(self.problem, self.polish)

    @property
    def cuts(self) -> int:
        """Boundaries where gradient stops."""
        return sum(len(choice.ends) for choice in self.choices) - 1


class _Indexed(NamedTuple):
    """A plan, and the index of its policy."""

    policy: int
    found: SearchResult
    """Its times count the polish."""
    polish: PolishChoice


class _Policy:
    """Everything under one allocator policy, with one kind of head, and windows at all cuts or at none."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.most = self._most_segments()
        """What limits on cuts and on lost accuracy come to; none: any number."""
        self.search = Search(problem)
        self.rules: dict[Strategy, StrategyPlanner] = make_planners(problem, self.search)
        self.polish = PolishPlanner(problem, self.search)

    def _most_segments(self) -> int | None:
        request = self.problem.request
        found = [] if request.max_cuts is None else [request.max_cuts + 1]
        if request.max_accuracy_loss is not None:
            found.append(self.problem.most_segments(request.max_accuracy_loss))
        return min(found, default=None)

    def most_within(self, points: float, count: int | None, *, equal: bool = False) -> int:
        """Most segments, of at most so many, whose rank is below `points`, or as high as that where `equal` will do."""
        most = self.problem.count if count is None else count
        ranks = map(self.problem.points, range(1, most + 1))
        return sum(rank < points or (equal and rank == points) for rank in ranks)

    def lost(self, ends: tuple[int, ...]) -> LossPoints | None:
        """What segments that end there lose; none: nothing is known of it."""
        return self.problem.loss.of(len(ends), len(self.problem.windows(ends)))

    def allows(self, ends: tuple[int, ...]) -> bool:
        """Whether segments that end there keep the limits on cuts and on lost accuracy."""
        cuts, points = self.problem.request.max_cuts, self.problem.request.max_accuracy_loss
        lost = self.lost(ends)
        is_allowed = points is None or lost is None or lost.expected <= points
        return is_allowed and (cuts is None or len(ends) <= cuts + 1)


class Solver:
    """Answers for one profile and request; the budget is given with every question."""

    def __init__(self, profile: Profile, request: Request, effort: Effort | None = None) -> None:
        """`effort`: how far to search; none: as the chain's length allows. Raises InputError where the profile cannot
        answer the request."""
        self.request = request
        self._policies = [
            _Policy(Problem(profile, setting, policy))
            for setting in settings_of(profile, request)
            for policy in policies_of(profile, request)
        ]
        self._effort = effort or _effort(self.problem.count)
        self.plan = lru_cache(maxsize=None)(self._plan)
        self._fastest = lru_cache(maxsize=None)(self._find_fastest)
        self._least_lost = lru_cache(maxsize=None)(self._find_least_lost)

    @property
    def problem(self) -> Problem:
        """The problem under the first policy: what depends neither on policies nor on heads and windows."""
        return self._policies[0].problem

    def _plan(self, strategy: Strategy, budget: int) -> Solution | None:
        """What a strategy chooses; none where nothing fits."""
        if strategy == "auto":
            return self._auto(budget)
        return self._by_rule(strategy, budget)

    def _by_rule(self, strategy: Strategy, budget: int) -> Solution | None:
        found = []
        for policy in self._policies:
            limit = policy.problem.process.live_limit(budget)
            choices, polish = policy.rules[strategy].plan(limit), policy.polish.choose(limit)
            if choices is not None and polish is not None:
                answer = Solution(policy.problem, choices, polish=polish.choice)
                if policy.allows(tuple(end for choice in choices for end in choice.ends)):
                    found.append(answer)
        return min(found, key=_seconds, default=None)

    def check_cuts(self, strategy: Strategy) -> None:
        """Refuse a limit on cuts, or on lost accuracy, that the strategy cannot keep. Raises InputError."""
        if strategy == "auto" or any(policy.allows(policy.rules[strategy].ends) for policy in self._policies):
            return
        least = min(self._policies, key=lambda policy: policy.problem.points(len(policy.rules[strategy].ends)))
        cuts, lost = least.rules[strategy].cuts, least.lost(least.rules[strategy].ends)
        points = self.request.max_accuracy_loss
        if points is not None and lost is not None and lost.expected > points:
            raise InputError(
                f"max_accuracy_loss is {points:g}, but strategy {strategy} cuts behind every unit that may end a "
                f"segment, which is predicted to lose {lost.expected:g} points in this model; allow "
                f"{lost.expected:g}, or choose strategy auto"
            )
        raise InputError(
            f"max_cuts is {self.request.max_cuts}, but strategy {strategy} cuts behind every unit that may end a "
            f"segment: {counted_cuts(cuts)} in this model; allow {cuts}, or choose strategy auto"
        )

    def _auto(self, budget: int) -> Solution | None:
        best = self._fastest(budget)
        if best is None:
            return None
        if self.request.prefer == "speed":
            chosen = min([self._answer(best), *self._rivals(budget)], key=_seconds)
            return chosen._replace(gap=_gap(_seconds(chosen), best.found.least))
        chosen = self._answer(self._least_lost(budget, best)[-1])
        return self._with_windows(chosen, budget, self._allowed(best)) if self.request.overlap == "auto" else chosen

    def _allowed(self, best: _Indexed) -> int:
        """What a plan has to take less than, by the preference."""
        return INF_TIME if self.request.prefer == "fidelity" else best.found.time * BALANCED_TENTHS // 10 + 1

    def _with_windows(self, chosen: Solution, budget: int, allowed: int) -> Solution:
        """A plan that was found without any, with windows at some cuts."""
        problem = chosen.problem
        if problem.overlap:
            return chosen
        limit, below = problem.process.live_limit(budget), allowed - polish_ns(problem, chosen.polish)
        return chosen._replace(choices=with_windows(problem, chosen.choices, limit, below))

    def _rivals(self, budget: int) -> Iterator[Solution]:
        """Other strategies' plans.

        Heads wider than preferred are outside the search's space, and could only win where a profile says that they
        cost less than narrower ones.
        """
        for strategy in OTHERS:
            found = self.plan(strategy, budget)
            if found is not None:
                yield found

    def _find_least_lost(self, budget: int, best: _Indexed) -> list[_Indexed]:
        """The fastest plan, and ever better ones: of less lost accuracy, so of fewer cuts where they have heads alike,
        or as little and less time, as the preference allows.

        Under `speed` they are only what else there would be: little is done to find them, in a long chain nothing.
        """
        prefer = self.request.prefer
        if prefer == "speed" and self.problem.count > _SETTLED_UNITS:
            return [best]
        effort = self._effort if prefer != "speed" else self._effort._replace(rounds=_ROUNDS_ASIDE)
        allowed = self._allowed(best)
        found = [best]
        for index, policy in enumerate(self._policies):
            limit = policy.problem.process.live_limit(budget)
            lost = self._policies[found[-1].policy].problem.points(found[-1].found.segments)
            below = found[-1].found.time
            polish = policy.polish.choose(limit) if limit >= 0 else None
            fewer = policy.most_within(lost, policy.most)
            as_few = policy.most_within(lost, policy.most, equal=True)
            for segments, limited in ((fewer, allowed), (as_few, below)):
                if polish is None or not segments:
                    continue
                less = policy.search.fewest(limit, segments, limited - polish.time, effort)
                if less is not None:
                    found.append(_polished(index, less, polish))
                    break
        return found

    def _find_fastest(self, budget: int) -> _Indexed | None:
        """The fastest plan within the limits on cuts and on lost accuracy.

        It knows the least that a plan takes under any policy, and is within the tolerance of that.
        """
        best: _Indexed | None = None
        least = below = INF_TIME
        for index, policy in enumerate(self._policies):
            limit = policy.problem.process.live_limit(budget)
            polish = policy.polish.choose(limit) if limit >= 0 else None
            if polish is None:
                continue
            indexed = _polished(
                index, policy.search.fastest(limit, policy.most, below - polish.time, self._effort), polish
            )
            found = indexed.found
            least = min(least, found.least)
            if found.choices:
                best, below = indexed, int(found.time * (1 - self._effort.tolerance))
        return best and best._replace(found=best.found._replace(least=min(least, best.found.time)))

    def _answer(self, indexed: _Indexed) -> Solution:
        found = indexed.found
        problem = self._policies[indexed.policy].problem
        return Solution(problem, found.choices, _gap(found.time, found.least), indexed.polish.choice)

    def frontier(self, budget: int) -> list[Solution]:
        """The fastest plan, and those that lose less and were weighed against it."""
        best = self._fastest(budget)
        if best is None:
            return []
        return [self._answer(found) for found in self._least_lost(budget, best)]

    def smallest(self, strategy: Strategy) -> int | None:
        """The least budget with a plan; none where storage is too small at every budget."""
        found = []
        for policy in self._policies:
            is_auto = strategy == "auto"
            limit = policy.search.smallest(policy.most) if is_auto else policy.rules[strategy].smallest()
            if limit is not None:
                found.append(policy.problem.process.budget_for(max(limit, policy.polish.smallest())))
        return min(found, default=None)

    def least_storage(self, strategy: Strategy, budget: int) -> int:
        """Storage with which some plan fits a budget that one fits if storage is not limited (as in this request)."""
        found = []
        for policy in self._policies:
            limit = policy.problem.process.live_limit(budget)
            if policy.polish.choose(limit) is None:
                continue
            if strategy == "auto":
                needed = policy.search.least_storage(limit, policy.most)
            else:
                rule = policy.rules[strategy]
                needed = rule.storage(limit) if rule.plan(limit) is not None else None
            if needed is not None:
                found.append(needed)
        return min(found)


def _polished(policy: int, found: SearchResult, polish: PolishChoice) -> _Indexed:
    """What was found for the blocks, with the polish behind them."""
    return _Indexed(policy, found._replace(time=found.time + polish.time, least=found.least + polish.time), polish)


def _seconds(answer: Solution) -> int:
    return answer.time_ns


def _gap(time: int, least: int) -> float:
    """By how much another plan may be faster, as a share, where none takes less than `least`."""
    return 0.0 if least >= time else time / least - 1


def _effort(count: int) -> Effort:
    """The longer a chain is, the longer takes every round."""
    if count <= EXACT_UNITS:
        return EXACT if count <= _SETTLED_UNITS else EXACT._replace(rounds=_ROUNDS // count)
    return Effort(_TOLERANCE, max(2, _ROUNDS // count), 8)
