"""What the dashboard shows of a plan beside its document: the frontier it lies on, and what each unit takes."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.problems import not_found
from api.routes.common import json_answer, reads, service_of
from api.schemas.plan_responses import Frontier, PlanPeak, PlanUnits
from api.service import Service
from api.store import content
from api.store.tables import plans, profiles

router = APIRouter(prefix="/v1/plans", tags=["plans"])

PlanId = Annotated[str, Path(max_length=64)]


@router.get(
    "/{plan_id}/frontier", **reads("get_frontier", "The fastest plans by rising budget", Frontier, 404, scope="read")
)
async def get_frontier(request: Request, plan_id: PlanId) -> Response:
    """What more or less budget buys: the fastest plans of the plan's strategy, from the smallest budget that fits."""
    return await _view(service_of(request), plan_id, "frontier")


@router.get(
    "/{plan_id}/units", **reads("get_plan_units", "Every unit and head, in order", PlanUnits, 404, scope="read")
)
async def get_plan_units(request: Request, plan_id: PlanId) -> Response:
    """What each unit and each head takes by itself at its block's micro-batch, in parts."""
    return await _view(service_of(request), plan_id, "units")


@router.get(
    "/{plan_id}/peak", **reads("get_plan_peak", "Every block at the moment of its peak", PlanPeak, 404, scope="read")
)
async def get_plan_peak(request: Request, plan_id: PlanId) -> Response:
    """What each unit and each head has in memory when its block's training is at its peak: the parts of that peak."""
    return await _view(service_of(request), plan_id, "peak")


async def _view(service: Service, plan_id: str, about: str) -> Response:
    """The answer to a question about a plan, remembered: neither the plan nor its profile ever changes."""
    await service.check_plan(plan_id)
    key = f"{about}:{plan_id}"
    known = service.plans.get(key)
    if known is None:
        plan = await run_in_threadpool(content.body, service.database, plans, plan_id)
        if plan is None:
            raise not_found(f"plan {plan_id}")
        service.put_plan(plan_id, plan)
        document = await run_in_threadpool(json.loads, plan)
        profile_id = document["profile_id"]
        profile = await run_in_threadpool(content.body, service.database, profiles, profile_id)
        if profile is None:
            raise not_found(f"profile {profile_id}, which the plan was made from, any more: it was deleted")
        rows = await service.solvers.look(profile_id, profile, document, about)
        known = json.dumps({"plan_id": plan_id, about: rows}).encode()
        service.plans.put(key, known)
    return json_answer(json.loads(known))
