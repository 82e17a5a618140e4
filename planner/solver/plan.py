"""From a profile and a request to a plan, or to what would have to be different."""

from __future__ import annotations

from dataclasses import replace

from planner.document import content_id
from planner.errors import InfeasibleError, InputError
from planner.profiler.schema import Profile
from planner.solver.check import check
from planner.solver.infeasible import budget_error, storage_error
from planner.solver.predict import make_block, make_exits, predict_plan
from planner.solver.problem import Problem
from planner.solver.request import Request
from planner.solver.schema import Alternative, Plan, Strategy
from planner.solver.strategies import Auto, Choices, Rule, make_rules


def make_plan(profile: Profile, request: Request) -> Plan:
    """The plan that the request's strategy and preference choose, checked against the profile.

    Raises InputError where the profile cannot answer the request, InfeasibleError where no plan of the strategy fits.
    """
    problem = Problem(profile, request)
    auto, others = make_rules(problem)
    rule = auto if request.strategy == "auto" else others[request.strategy]
    limit = problem.live_limit(request.budget.bytes)
    choices = rule.plan(limit)
    minimum = rule.smallest()
    if choices is None or minimum is None:
        raise _infeasible(problem, rule, limit)
    plan = _document(problem, choices, problem.budget_for(minimum), _alternatives(auto, others, limit))
    check(plan, profile)
    return plan


def least_memory(profile: Profile, request: Request) -> int:
    """The smallest budget in bytes that a plan of the request's strategy fits; the request's own budget plays no part.

    Raises InputError where the profile cannot answer the request, InfeasibleError where storage is too small for the
    strategy at every budget.
    """
    problem = Problem(profile, request)
    rule = _rule(problem)
    minimum = rule.smallest()
    if minimum is None:
        raise _infeasible(problem, rule, problem.live_limit(request.budget.bytes))
    return problem.budget_for(minimum)


def _rule(problem: Problem) -> Rule:
    auto, others = make_rules(problem)
    strategy = problem.request.strategy
    return auto if strategy == "auto" else others[strategy]


def _infeasible(problem: Problem, rule: Rule, limit: int) -> InfeasibleError:
    """What would have to be different. Raises InputError where neither budget nor storage is to blame."""
    minimum = rule.smallest()
    unlimited = _rule(Problem(problem.profile, replace(problem.request, storage_bytes=None)))
    free = unlimited.smallest()
    if free is None:
        raise InputError(
            f"batch is {problem.training.batch}: strategy {problem.request.strategy} needs more samples in a "
            "micro-batch, since its heads normalise over them; choose a larger batch"
        )
    if minimum is None or free <= limit:
        budget = None if minimum is None else problem.budget_for(minimum)
        return storage_error(problem, unlimited.storage(max(limit, free)), budget)
    return budget_error(problem, problem.budget_for(minimum), rule.plan(minimum) or ())


def _alternatives(auto: Auto, others: dict[Strategy, Rule], limit: int) -> tuple[Alternative, ...]:
    """Every strategy that fits, and the frontier of `auto`, by cuts and time."""
    problem = auto.problem
    found: set[Alternative] = set()
    rules: dict[Strategy, Rule] = {"auto": auto, **others}
    for strategy, rule in rules.items():
        choices = rule.plan(limit)
        if choices is not None:
            found.add(_alternative(problem, strategy, choices))
    least: float | None = None
    for _, candidate in sorted(auto.frontier(limit).items()):
        alternative = _alternative(problem, "auto", candidate.choices)
        if least is None or alternative.seconds_total < least:
            least = alternative.seconds_total
            found.add(alternative)
    return tuple(sorted(found, key=_order))


def _order(other: Alternative) -> tuple[int, float, str, int, int, int]:
    return other.cuts, other.seconds_total, other.strategy, other.blocks, other.peak_bytes, other.cache_bytes


def _alternative(problem: Problem, strategy: Strategy, choices: Choices) -> Alternative:
    predicted = predict_plan(problem, choices)
    return Alternative(
        strategy=strategy,
        blocks=len(choices),
        cuts=sum(len(choice.ends) for choice in choices) - 1,
        peak_bytes=predicted.peak_bytes,
        seconds_total=predicted.seconds_total,
        cache_bytes=predicted.cache_bytes,
    )


def _document(problem: Problem, choices: Choices, minimum: int, alternatives: tuple[Alternative, ...]) -> Plan:
    profile, request = problem.profile, problem.request
    plan = Plan(
        schema="plan/1",
        id="",
        model=profile.model,
        device=profile.device,
        strategy=request.strategy,
        prefer=request.prefer,
        budget=request.budget,
        storage_bytes=request.storage_bytes,
        reserve_bytes=request.reserve_bytes,
        allocator=profile.allocator,
        profile_id=profile.id,
        training=request.training,
        baseline_bytes=profile.runtime.baseline_bytes,
        blocks=tuple(make_block(problem, choice) for choice in choices),
        exits=make_exits(choices),
        predicted=predict_plan(problem, choices),
        minimum_budget_bytes=minimum,
        optimality_gap=0.0,
        alternatives=alternatives,
        calibration_seconds=profile.calibration_seconds,
    )
    return replace(plan, id=content_id(plan))
