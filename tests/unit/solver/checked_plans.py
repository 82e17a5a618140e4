"""Plans for the checker, in which the solver has its say."""

from __future__ import annotations

from dataclasses import replace

from planner.schema.codec import content_id
from planner.schema.common import Policy
from planner.schema.plan import Alternative, Plan
from planner.schema.profile import ComponentProfile, HeadProfile, Profile, Trace, Traces
from planner.schema.request import Budget, Request, Scope, Training
from planner.solver.checker.check import check
from planner.solver.checker.ledger import BlockRun
from planner.solver.memory_model import total_ns
from planner.solver.predict import make_block, make_exits, predict_plan
from planner.solver.problem import CLASSIFIER, BlockChoice, Problem
from tests.heads import heads
from tests.unit.solver import two_units
from tests.unit.solver.two_units import (
    FIRST,
    HEAD,
    SECOND,
    SGD,
    UNUSED,
    component,
    costs,
    policy_profile,
    tiny_profile,
    trace,
)

ROOM = 10**8
TRAINING = Training(batch=2, epochs=3, samples=5, optimizer=SGD)
HEADS = (HeadProfile(1, "auxiliary", 8, HEAD), HeadProfile(2, "auxiliary", 8, HEAD))
ONE = BlockChoice(0, 2, (2,), (CLASSIFIER,))
"""Of two units."""
CACHING = BlockChoice(0, 2, (1,), heads(8), caches=True)
CACHED = BlockChoice(1, 2, (2,), (CLASSIFIER,), source="cache")
PASSED = replace(CACHING, caches=False)
AGAIN = replace(CACHED, source="recompute")


def plan_of(problem: Problem, *choices: BlockChoice) -> Plan:
    """A document of these choices, in which the solver has its say and there is room for everything."""
    profile, request = problem.profile, problem.request
    plan = Plan(
        schema="plan/1",
        id="",
        model=profile.model,
        device=profile.device,
        strategy="auto",
        prefer="speed",
        budget=request.budget,
        storage_bytes=request.storage_bytes,
        reserve_bytes=0,
        allocator=problem.policy,
        profile_id=profile.id,
        training=problem.training,
        baseline_bytes=problem.process.baseline_bytes,
        blocks=tuple(make_block(problem, choice) for choice in choices),
        exits=make_exits(choices, problem.profile.model),
        predicted=predict_plan(problem, choices, total_ns(problem, choices)),
        minimum_budget_bytes=1,
        optimality_gap=0.0,
        alternatives=(Alternative("auto", 1, 0, 100, 1.0, 100),),
        calibration_seconds=profile.calibration_seconds if problem.policy == "tight" else None,
    )
    return signed(plan)


def signed(plan: Plan) -> Plan:
    return replace(plan, id=content_id(replace(plan, id="")))


def problem_of(
    profile: Profile,
    scope: Scope = "training",
    policy: Policy = "tight",
    training: Training = TRAINING,
    overlap: int = 0,
) -> Problem:
    return Problem(profile, Request(Budget(ROOM, scope), training, reserve_bytes=0, overlap=overlap), policy)


def runs(problem: Problem, *choices: BlockChoice) -> list[BlockRun]:
    """Every block played out, in a plan that the checker accepts."""
    plan = plan_of(problem, *choices)
    check(plan, problem.profile)
    return [BlockRun(plan, problem.profile, place, choice.micro_batch) for place, choice in enumerate(choices)]


def with_policies(profile: Profile, tight: float, fast: float, figures: tuple[int, int, int]) -> Profile:
    policies = policy_profile("tight", *figures, tight), policy_profile("fast", *figures, fast)
    return replace(profile, policies=policies, calibration_seconds=0.25)


def stepping(cost: ComponentProfile, first: Trace, inner: Trace) -> ComponentProfile:
    """The component with the traces of an optimizer in backward."""
    table = [replace(one, traces=replace(one.traces, first_stepping=first, inner_stepping=inner)) for one in cost.costs]
    return replace(cost, costs=tuple(table))


def unit(output: int, detached: int, first: Trace = UNUSED, inner: Trace = UNUSED) -> ComponentProfile:
    """A unit profiled at micro-batch 2 alone, with 50 bytes of parameters and a step of 3."""
    one = costs(2, Traces(inner, UNUSED, first, UNUSED, UNUSED, UNUSED), 0, (10, 20, 15, 8))
    return component((50, 0, 3), 2, output, (replace(one, detached_peak_bytes=detached),))


def stepping_profile(step_transient: int = 7) -> Profile:
    first = stepping(replace(FIRST, step_transient_bytes=step_transient), trace(300, 200, 320, 380), UNUSED)
    second = stepping(SECOND, trace(145, 95, 155), trace(150, 90, 160))
    head = stepping(HEAD, UNUSED, trace(60, 30, 95))
    profile = tiny_profile((first, second), (HeadProfile(1, "auxiliary", 8, head),))
    closing = HeadProfile(2, "classifier", 0, stepping(two_units.CLASSIFIER, UNUSED, trace(20, 12, 25)))
    return replace(profile, heads=(profile.heads[0], closing))
