"""From a profile and a request to a plan, or to what would have to be different."""

from __future__ import annotations

from dataclasses import replace

from planner.errors import InfeasibleError, InputError
from planner.schema.codec import content_id
from planner.schema.plan import PLAN_SCHEMA, Alternative, Plan
from planner.schema.prediction import PlanPrediction
from planner.schema.profile import Profile
from planner.schema.request import Request, Strategy
from planner.solver.auto import OTHERS, Solution, Solver
from planner.solver.checker.check import check
from planner.solver.infeasible import budget_error, storage_error
from planner.solver.polish import make_polish
from planner.solver.predict import make_block, make_exits, predict_plan


def make_plan(profile: Profile, request: Request) -> Plan:
    """The plan that the request's strategy and preference choose, checked against the profile.

    Raises InputError where the profile cannot answer the request, InfeasibleError where no plan of the strategy fits.
    """
    solver = Solver(profile, request)
    solver.check_cuts(request.strategy)
    answer = solver.plan(request.strategy, request.budget.bytes)
    minimum = solver.smallest(request.strategy)
    if answer is None or minimum is None:
        raise _infeasible(profile, solver, minimum)
    plan = _document(answer, request, minimum, _alternatives(solver))
    check(plan, profile)
    return plan


def least_memory(profile: Profile, request: Request) -> int:
    """The smallest budget in bytes that a plan of the request's strategy fits; the request's own budget plays no part.

    Raises InputError where the profile cannot answer the request, InfeasibleError where storage is too small for the
    strategy at every budget.
    """
    solver = Solver(profile, request)
    solver.check_cuts(request.strategy)
    minimum = solver.smallest(request.strategy)
    if minimum is None:
        raise _infeasible(profile, solver, None)
    return minimum


def _infeasible(profile: Profile, solver: Solver, minimum: int | None) -> InfeasibleError:
    """What would have to be different. Raises InputError where neither budget nor storage is to blame."""
    request = solver.request
    budget = request.budget.bytes
    unlimited = Solver(profile, replace(request, storage_bytes=None))
    free = unlimited.smallest(request.strategy)
    if free is None:
        raise InputError(
            f"batch is {request.training.batch}: strategy {request.strategy} needs more samples in a "
            "micro-batch, since its heads normalise over them; choose a larger batch"
        )
    if minimum is None or free <= budget:
        needed = _least_storage(profile, solver, unlimited, max(budget, free))
        return storage_error(solver.problem, needed, minimum)
    smallest = solver.plan(request.strategy, minimum)
    assert smallest is not None
    return budget_error(smallest.problem, minimum, smallest.stages)


def _least_storage(profile: Profile, solver: Solver, unlimited: Solver, budget: int) -> int:
    """Storage with which some plan fits a budget that one fits if storage is not limited.

    Caches hold fewer bytes below `Problem.ample_storage_bytes`, at the price of memory for converting them.
    """
    request, strategy = solver.request, solver.request.strategy
    needed = unlimited.least_storage(strategy, budget)
    kept = solver.problem.cache_dtype
    if kept == unlimited.problem.cache_dtype:
        return needed
    needed = max(needed, solver.problem.ample_storage_bytes)
    smaller = Solver(profile, replace(request, storage_bytes=None, cache_dtype=kept))
    least = smaller.smallest(strategy)
    return needed if least is None or least > budget else min(needed, smaller.least_storage(strategy, budget))


def _alternatives(solver: Solver) -> tuple[Alternative, ...]:
    """Every strategy that fits, and `auto` with fewer cuts and more time, by cuts and time."""
    budget = solver.request.budget.bytes
    found: set[Alternative] = set()
    for strategy in ("auto", *OTHERS):
        answer = solver.plan(strategy, budget)
        if answer is not None:
            found.add(_alternative(strategy, answer))
    found |= {_alternative("auto", answer) for answer in solver.frontier(budget)}
    return tuple(sorted(found, key=_order))


def _order(other: Alternative) -> tuple[int, float, str, int, int, int]:
    return other.cuts, other.seconds_total, other.strategy, other.blocks, other.peak_bytes, other.cache_bytes


def _alternative(strategy: Strategy, answer: Solution) -> Alternative:
    predicted = _predicted(answer)
    return Alternative(
        strategy=strategy,
        blocks=len(answer.choices),
        cuts=answer.cuts,
        peak_bytes=predicted.peak_bytes,
        seconds_total=predicted.seconds_total,
        cache_bytes=predicted.cache_bytes,
        accuracy_loss_points=predicted.accuracy_loss_points,
    )


def _document(answer: Solution, request: Request, minimum: int, alternatives: tuple[Alternative, ...]) -> Plan:
    problem, choices, gap, polish = answer
    profile = problem.profile
    plan = Plan(
        schema=PLAN_SCHEMA,
        id="",
        model=profile.model,
        device=profile.device,
        strategy=request.strategy,
        prefer=request.prefer,
        budget=request.budget,
        storage_bytes=request.storage_bytes,
        reserve_bytes=request.reserve_bytes,
        allocator=problem.policy,
        profile_id=profile.id,
        training=request.training,
        baseline_bytes=problem.process.baseline_bytes,
        blocks=tuple(make_block(problem, choice) for choice in choices),
        exits=make_exits(choices if polish is None else (polish,), profile.model),
        predicted=_predicted(answer),
        minimum_budget_bytes=minimum,
        optimality_gap=gap,
        alternatives=alternatives,
        # The kernel was timed under `tight`; under `fast` it takes another time.
        calibration_seconds=profile.calibration_seconds if problem.policy == "tight" else None,
        max_cuts=request.max_cuts,
        machine=profile.machine,
        start=profile.runtime.start,
        linear_segments=request.linear_segments,
        request=request,
        polish=make_polish(problem, polish),
    )
    return replace(plan, id=content_id(plan))


def _predicted(answer: Solution) -> PlanPrediction:
    return predict_plan(answer.problem, answer.stages, answer.time_ns)
