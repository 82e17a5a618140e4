"""Whether the service works, and what it has counted."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.auth import needs
from api.gauges import of_database
from api.metrics import Gauge
from api.routes.common import gives, json_answer, service_of
from api.schemas.responses import Health
from planner.system.proc import read_memory

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="health", responses=gives({200: ("The process answers", Health)}))
async def health() -> Response:
    """Whether the process answers."""
    return json_answer({"status": "ok"})


@router.get("/readyz", operation_id="ready", responses=gives({200: ("The service works", Health)}))
async def ready(request: Request) -> Response:
    """Whether the database answers too, and has room."""
    await service_of(request).check_ready()
    return json_answer({"status": "ok"})


@router.get(
    "/metrics",
    operation_id="metrics",
    responses={**gives({}), 200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}},
    dependencies=[Depends(needs("metrics"))],
)
async def metrics(request: Request) -> Response:
    """Counters of this process, and what is in the database, for Prometheus. A token of the role `metrics` will do."""
    service = service_of(request)
    own = {
        "neuroflux_requests_in_flight": ("gauge", "Requests being answered.", service.in_flight),
        "neuroflux_event_streams": ("gauge", "Open event streams.", service.changes.streams),
        "neuroflux_solver_waiting": ("gauge", "Requests that wait for a solver worker.", service.solvers.waiting),
        "neuroflux_solver_replaced_total": ("counter", "Solver workers replaced.", service.solvers.replaced),
        "neuroflux_plans_solved_total": ("counter", "Plans made.", service.solvers.solved),
        "neuroflux_resident_bytes": ("gauge", "Resident memory of this process.", read_memory().resident_bytes),
    }
    if service.webhook is not None:
        told, failed = service.webhook.delivered, service.webhook.failed
        own["neuroflux_webhook_deliveries_total"] = ("counter", "States that were told.", told)
        own["neuroflux_webhook_failures_total"] = ("counter", "Times that the other side failed.", failed)
    found = {name: Gauge(kind, meaning, {"": value}) for name, (kind, meaning, value) in own.items()}
    found |= await run_in_threadpool(of_database, service.database)
    return Response(service.metrics.text(found), media_type="text/plain; version=0.0.4")
