"""Which heads there are: fixed before the search, whatever the budget.

The preferred width at a boundary is the widest profiled one whose time stays within `head_time_share` of a typical
segment's, a quarter of the chain; the narrowest where none does. So a narrow head is never chosen because it is faster,
and a larger budget, which could afford wider ones, never makes a plan slower.
"""

from __future__ import annotations

from planner.heads.kinds import AuxiliaryHead
from planner.solver.problem import CLASSIFIER, Problem, narrowest, widest

SHARES_OF_CHAIN = 4
"""A typical segment is this part of the chain."""

Heads = dict[int, AuxiliaryHead | None]
"""The head by boundary; `CLASSIFIER` at the chain's end."""


def preferred_heads(problem: Problem) -> Heads:
    """The head at each boundary that training time alone would choose."""
    sizes = [cost.micro_batch for cost in problem.profile.units[0].costs]
    micro_batch = max((size for size in sizes if size <= problem.training.batch), default=sizes[0])
    chain_ns = sum(_train_ns(problem, unit, micro_batch) for unit in range(problem.count))
    chain_ns += problem.head_cost(problem.count, CLASSIFIER, micro_batch).train_ns
    allowed_ns = problem.request.head_time_share * chain_ns / SHARES_OF_CHAIN

    def allowed(boundary: int) -> list[AuxiliaryHead | None]:
        heads = problem.heads[boundary]
        return [head for head in heads if problem.head_cost(boundary, head, micro_batch).train_ns <= allowed_ns]

    return {
        boundary: widest(found) if (found := allowed(boundary)) else narrowest(heads)
        for boundary, heads in problem.heads.items()
    }


def heads_of_segments(problem: Problem, standing: Heads) -> Heads:
    """By segment's end: the head that stands there, or behind its window."""
    return {end: standing[end + problem.has_window(end)] for end in standing}


def _train_ns(problem: Problem, unit: int, micro_batch: int) -> int:
    cost = problem.unit_cost(unit, micro_batch)
    return cost.train_ns if unit else cost.first_train_ns


def widest_heads(problem: Problem) -> Heads:
    """Classic local learning's: the widest head profiled at each boundary (256 filters in a profile of our own)."""
    return {boundary: widest(heads) for boundary, heads in problem.heads.items()}
