"""The end-to-end training that ends a plan: the whole network as one segment, recomputed as far as memory asks for.

It is what `checkpoint` would choose under the same limit, but that it reads no cache.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from planner.schema.plan import Polish
from planner.solver.memory_model import time_ns
from planner.solver.predict import make_block
from planner.solver.problem import BlockChoice, Problem
from planner.solver.search.search import Search
from planner.solver.strategies import Checkpoint


class PolishChoice(NamedTuple):
    """What a plan ends in."""

    choice: BlockChoice | None
    """How it is trained; none where no polish is asked for."""
    time: int
    """Nanoseconds that it takes; 0 without one."""


NO_POLISH = PolishChoice(None, 0)


class PolishPlanner:
    """The polish of a problem's plans. Limits are live bytes."""

    def __init__(self, problem: Problem, search: Search) -> None:
        self._problem = problem
        self._whole = Checkpoint(problem, search, caches=False)
        self.choose = lru_cache(maxsize=None)(self._choose)

    def _choose(self, limit: int) -> PolishChoice | None:
        """The fastest that fits; none where none does."""
        if not self._problem.training.polish:
            return NO_POLISH
        choices = self._whole.plan(limit) if limit >= 0 else None
        return None if choices is None else PolishChoice(choices[0], polish_ns(self._problem, choices[0]))

    def smallest(self) -> int:
        """The least limit that it fits; 0 where none is asked for."""
        if not self._problem.training.polish:
            return 0
        least = self._whole.smallest()
        assert least is not None  # it reads no cache, so storage refuses it nothing
        return least


def polish_ns(problem: Problem, choice: BlockChoice | None) -> int:
    """Time of a polish; 0 of none."""
    if choice is None:
        return 0
    time = time_ns(problem, choice)
    return problem.training.polish * time.epoch + time.finish


def make_polish(problem: Problem, choice: BlockChoice | None) -> Polish | None:
    """As the plan holds it."""
    training = problem.training
    if choice is None:
        return None
    block = replace(make_block(problem, choice), epochs=training.polish)
    return Polish(training.polish, training.polish_rate, block)
