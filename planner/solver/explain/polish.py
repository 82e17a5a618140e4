"""What a polish would be, for a plan that cuts and has none."""

from __future__ import annotations

from dataclasses import replace

from planner.schema.explain import PolishOffer
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Request
from planner.solver.polish import PolishPlanner
from planner.solver.predict import predict_block
from planner.solver.problem import Problem
from planner.solver.search.search import Search
from planner.solver.settings import as_planned


def polish_offer(profile: Profile, request: Request, plan: Plan) -> PolishOffer | None:
    """Whether training could end with a polish in the plan's budget, and what that would cost.

    None where the plan has one, or trains end to end in any case. `profile` and `request` are those it was made from.
    """
    if plan.polish is not None or plan.cuts == 0:
        return None
    asked = as_planned(replace(request, training=replace(request.training, polish=1)), plan)
    problem = Problem(profile, asked, plan.allocator)
    planner = PolishPlanner(problem, Search(problem))
    found = planner.choose(problem.process.live_limit(plan.budget.bytes))
    predicted = None if found is None or found.choice is None else predict_block(problem, found.choice)
    return PolishOffer(
        needed_bytes=max(plan.minimum_budget_bytes, problem.process.budget_for(planner.smallest())),
        epoch_seconds=None if predicted is None else predicted.seconds_per_epoch,
        peak_bytes=None if predicted is None else predicted.peak_bytes,
    )
