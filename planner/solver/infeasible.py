"""Why nothing fits: the smallest feasible budget or storage, and what binds there."""

from __future__ import annotations

from planner.errors import InfeasibleError
from planner.schema.request import Request
from planner.solver.predict import predict_block
from planner.solver.problem import BlockChoice, Problem
from planner.units import counted_cuts, exact

RUNTIME = "the runtime (interpreter and torch)"
STORAGE = "storage for activation caches"

_IN_FULL = {
    "weights": "weights, gradients and optimizer state",
    "activations": "activations",
    "runtime": RUNTIME,
    "samples": "sample buffers",
}


def budget_error(problem: Problem, minimum: int, choices: tuple[BlockChoice, ...]) -> InfeasibleError:
    """No plan fits the budget; `choices` is the plan at `minimum`, the smallest feasible one, its polish included."""
    budget = problem.request.budget
    predictions = [predict_block(problem, choice) for choice in choices]
    highest = max(predictions, key=lambda predicted: predicted.peak_bytes)
    starts = problem.process.start_bytes > highest.peak_bytes
    kinds = highest.breakdown.by_kind()
    term = RUNTIME if starts else _IN_FULL[max(kinds, key=lambda kind: kinds[kind])]
    return InfeasibleError(
        f"{_plans(problem.request)} a budget of {exact(budget.bytes)} (scope {budget.scope}); the smallest feasible "
        f"one is {exact(minimum)}, and most of it is {term}",
        minimum,
        term,
    )


def storage_error(problem: Problem, needed: int, minimum: int | None) -> InfeasibleError:
    """The storage for caches is too small; `minimum` is the smallest budget that this storage allows, if any does."""
    alternative = f" or, with the storage as it is, a budget of {exact(minimum)}" if minimum is not None else ""
    return InfeasibleError(
        f"{_plans(problem.request)} {exact(problem.request.storage_bytes or 0)} of {STORAGE} with a "
        f"budget of {exact(problem.request.budget.bytes)}; it needs {exact(needed)} of storage{alternative}",
        needed,
        STORAGE,
    )


def _plans(request: Request) -> str:
    """`no plan of strategy neuroflux with at most 2 cuts fits`: what was asked for beside the budget."""
    epochs = request.training.polish
    polish = f" that ends with {epochs} {'epoch' if epochs == 1 else 'epochs'} of polish" if epochs else ""
    strategy = "" if request.strategy == "auto" else f" of strategy {request.strategy}"
    cuts = "" if request.max_cuts is None else f" with at most {counted_cuts(request.max_cuts)}"
    allocator = "" if request.allocator is None else f" under allocator {request.allocator}"
    points = request.max_accuracy_loss
    lost = "" if points is None else f" that is predicted to lose at most {points:g} points of accuracy"
    return f"no plan{strategy}{cuts}{allocator}{polish}{lost} fits"
