"""Why nothing fits: the smallest feasible budget or storage, and what binds there."""

from __future__ import annotations

from planner.errors import InfeasibleError
from planner.solver.predict import predict_block
from planner.solver.problem import Choice, Problem
from planner.solver.schema import Breakdown
from planner.units import format_bytes

RUNTIME = "the runtime (interpreter and torch)"


def budget_error(problem: Problem, minimum: int, choices: tuple[Choice, ...]) -> InfeasibleError:
    """No plan fits the budget; `choices` is the plan at `minimum`, the smallest feasible one."""
    budget = problem.request.budget
    predictions = [predict_block(problem, choice) for choice in choices]
    highest = max(predictions, key=lambda predicted: predicted.peak_bytes)
    starts = problem.start_bytes > highest.peak_bytes + problem.request.reserve_bytes
    term = RUNTIME if starts else _largest_term(highest.breakdown)
    return InfeasibleError(
        f"{_plans(problem)} a budget of {_exact(budget.bytes)} (scope {budget.scope}); the smallest feasible one is "
        f"{_exact(minimum)}, and most of it is {term}",
        minimum,
        term,
    )


def storage_error(problem: Problem, needed: int, minimum: int | None) -> InfeasibleError:
    """The storage for caches is too small; `minimum` is the smallest budget that this storage allows, if any does."""
    way_out = f" or, with the storage as it is, a budget of {_exact(minimum)}" if minimum is not None else ""
    return InfeasibleError(
        f"{_plans(problem)} {_exact(problem.request.storage_bytes or 0)} of storage for activation caches with a "
        f"budget of {_exact(problem.request.budget.bytes)}; it needs {_exact(needed)} of storage{way_out}",
        needed,
        "storage for activation caches",
    )


def _plans(problem: Problem) -> str:
    strategy = problem.request.strategy
    return "no plan fits" if strategy == "auto" else f"no plan of strategy {strategy} fits"


def _exact(count: int) -> str:
    return f"{format_bytes(count)} ({count} bytes)"


def _largest_term(parts: Breakdown) -> str:
    terms = {
        "weights, gradients and optimizer state": parts.parameters + parts.gradients + parts.optimizer,
        "activations": parts.activations + parts.transient,
        RUNTIME: parts.runtime,
        "sample buffers": parts.data,
    }
    return max(terms, key=lambda term: terms[term])
