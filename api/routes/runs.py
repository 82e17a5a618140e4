"""Runs: what devices report while they train."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies, events
from api.auth import needs
from api.limits import DEFAULT_POINTS, MAX_POINTS, MAX_SAMPLES_PER_RUN
from api.problems import Problem, invalid, not_found
from api.routes.common import (
    BODY_PROBLEMS,
    Key,
    gives,
    json_answer,
    known,
    reads,
    service_of,
    takes,
)
from api.schemas.requests import RunRequest, RunStateRequest, SampleBatch
from api.schemas.responses import Run, RunItem, SampleChart, SamplesTaken
from api.service import Service
from api.store import content, idempotency, runs
from api.store.idempotency import Once
from api.store.runs import RunKey
from api.store.tables import plans
from api.store.tables import runs as rows
from api.store.tokens import Principal, new_id
from planner.report.page import make_page
from planner.report.read import RunRecord, difference
from planner.schema.codec import content_id, decode, parse_json
from planner.schema.plan import Plan
from planner.schema.report import Report

router = APIRouter(prefix="/v1/runs", tags=["runs"])

RunId = Annotated[str, Path(max_length=64)]
Reporter = Annotated[Principal, Depends(needs("report"))]

_KEPT_KEYS = 4096
_SAMPLE = {
    "sequence": 0,
    "seconds": 1.5,
    "block": 0,
    "epoch": 0,
    "step": 0,
    "resident_bytes": 209715200,
    "peak_bytes": 220200960,
    "loss": 2.3,
}
_REPORT = {"schema": "report/1", "plan_id": "…", "peak_bytes": "what `neuroflux run` wrote to report.json"}


async def _key(service: Service, run_id: str) -> RunKey:
    """What never changes about a run. Raises Problem (404)."""
    found = service.run_keys.get(run_id)
    if found is None:
        found = await run_in_threadpool(runs.key_of, service.database, run_id)
        if found is None:
            raise not_found(f"run {run_id}")
        service.run_keys[run_id] = found
        while len(service.run_keys) > _KEPT_KEYS:
            service.run_keys.popitem(last=False)
    return found


async def _own(service: Service, run_id: str, principal: Principal) -> RunKey:
    """The run, which must be the device's own. Raises Problem (403, 404)."""
    found = await _key(service, run_id)
    if principal.kind == "device" and found.device_id != principal.device_id:
        raise Problem(HTTPStatus.FORBIDDEN, "forbidden", "this run was begun by another device")
    return found


@router.post(
    "",
    operation_id="create_run",
    openapi_extra=takes(RunRequest, {"plan_id": "5f0c…", "name": "first"}),
    responses=gives({201: ("Begun", RunItem)}, (*BODY_PROBLEMS, 404)),
)
async def create_run(request: Request, principal: Reporter, key: Key = None) -> Response:
    """Begin a run of a stored plan."""
    text = await bodies.receive(request)
    once = Once.of(key, principal.token_id, "runs", text)
    return await run_in_threadpool(_create, service_of(request), principal, text, once)


def _create(service: Service, principal: Principal, text: bytes, once: Once | None) -> Response:
    asked = bodies.parse(RunRequest, text)
    database, identity = service.database, new_id()
    if content.body(database, plans, asked.plan_id) is None:
        raise invalid("$.plan_id", "there is no plan with this id; POST /v1/plans makes one")
    with database.write() as connection:
        earlier = idempotency.claim(connection, database, once, identity)
        if earlier is None:
            runs.create(connection, database, identity, asked.plan_id, principal.device_id, asked.name)
    wanted = earlier or identity
    found = next(iter(runs.page(database, None, 1, (rows.c.id == wanted,)).items), None)
    item = known(found, f"run {wanted} any more")
    return json_answer(item, HTTPStatus.CREATED, {"Location": f"/v1/runs/{wanted}"})


@router.get("/{run_id}", **reads("get_run", "The run", Run, 404))
def get_run(request: Request, run_id: RunId) -> Response:
    """A run, with its report once that is there."""
    found = runs.one(service_of(request).database, run_id)
    return json_answer(known(found, f"run {run_id}"))


@router.post(
    "/{run_id}/samples",
    operation_id="post_samples",
    openapi_extra=takes(SampleBatch, {"samples": [_SAMPLE]}),
    responses=gives({200: ("On storage", SamplesTaken)}, (*BODY_PROBLEMS, 404, 409)),
)
async def post_samples(request: Request, principal: Reporter, run_id: RunId) -> Response:
    """Send samples; the answer comes when they are on storage. Sending them again changes nothing. A finished run
    takes none.
    """
    service = service_of(request)
    run = await _own(service, run_id, principal)
    text = await bodies.receive(request)
    batch = bodies.parse(SampleBatch, text)
    if any(sample.block >= run.blocks for sample in batch.samples):
        raise invalid("$.samples", f"a block lies beyond the plan's {run.blocks}", run.blocks - 1)
    taken = [{"run": run.number, **sample.__dict__} for sample in batch.samples]
    await asyncio.wrap_future(service.samples.submit(run, taken))
    service.changes.notify(run.number)
    last = max(sample.sequence for sample in batch.samples)
    return json_answer({"accepted": len(taken), "last_sequence": last})


@router.put(
    "/{run_id}/state",
    operation_id="set_run_state",
    openapi_extra=takes(RunStateRequest, {"state": "failed", "reason": "block 1 does not fit"}),
    responses=gives({200: ("The run", RunItem)}, (*BODY_PROBLEMS, 404, 409)),
)
async def set_run_state(request: Request, principal: Reporter, run_id: RunId) -> Response:
    """Say that a run goes on, which keeps it from being taken for lost, or that it has ended without a report."""
    service = service_of(request)
    run = await _own(service, run_id, principal)
    asked = await bodies.read(request, RunStateRequest)
    if not await run_in_threadpool(runs.set_state, service.database, run, asked.state, asked.reason):
        if await run_in_threadpool(runs.key_of, service.database, run_id) is None:
            raise not_found(f"run {run_id} any more")
        raise Problem(HTTPStatus.CONFLICT, "run-finished", "the run is finished: its report says how it ended")
    service.changes.notify(run.number)
    found = await run_in_threadpool(runs.page, service.database, None, 1, (run.is_it,))
    return json_answer(known(next(iter(found.items), None), f"run {run_id} any more"))


@router.get("/{run_id}/samples", **reads("get_samples", "Samples for a chart", SampleChart, 404))
async def get_samples(
    request: Request,
    run_id: RunId,
    after: Annotated[
        int, Query(description="Only samples behind this sequence number", ge=-1, le=MAX_SAMPLES_PER_RUN)
    ] = -1,
    before: Annotated[
        int | None, Query(description="Only samples below this sequence number", ge=0, le=MAX_SAMPLES_PER_RUN)
    ] = None,
    points: Annotated[int, Query(description="Most samples in the answer", ge=1, le=MAX_POINTS)] = DEFAULT_POINTS,
) -> Response:
    """Samples thinned to what a chart needs; the highest peak of every stretch is kept."""
    service = service_of(request)
    run = await _key(service, run_id)
    count, found = await run_in_threadpool(runs.chart, service.database, run, after, before, points)
    last = found[-1]["sequence"] if found else None
    return json_answer({"samples": found, "count": count, "last_sequence": last})


@router.post(
    "/{run_id}/report",
    operation_id="post_report",
    openapi_extra=takes(Report, _REPORT),
    responses=gives(
        {201: ("The run is finished", Report), 200: ("It was there already", Report)}, (*BODY_PROBLEMS, 404, 409)
    ),
)
async def post_report(request: Request, principal: Reporter, run_id: RunId) -> Response:
    """Send the report, which ends the run."""
    service = service_of(request)
    run = await _own(service, run_id, principal)
    report = await bodies.read(request, Report)
    if report.plan_id != run.plan_id:
        raise invalid("$.plan_id", f"is not the run's plan, {run.plan_id}")
    text, identity = content.to_bytes(report), content_id(report)
    outcome = await run_in_threadpool(runs.put_report, service.database, run, identity, report, text)
    if outcome == "gone":
        raise not_found(f"run {run_id} any more")
    if outcome == "another":
        raise Problem(HTTPStatus.CONFLICT, "report-exists", "the run has another report already")
    service.changes.notify(run.number)
    return Response(text, 201 if outcome == "created" else 200, media_type="application/json")


@router.get("/{run_id}/report", **reads("get_report", "The report", Report, 404))
def get_report(request: Request, run_id: RunId) -> Response:
    """What a run did, as its device has sent it. 404 until then."""
    return Response(_report_of(request, run_id), media_type="application/json")


def _report_of(request: Request, run_id: str) -> bytes:
    """A run's report as it is kept. Raises Problem (404)."""
    found = runs.report(service_of(request).database, run_id)
    return known(found, f"report of a run {run_id}")


_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""The page brings its style along, and nothing else."""


@router.get(
    "/{run_id}/page",
    operation_id="get_report_page",
    dependencies=[Depends(needs("read"))],
    responses={
        **gives({}, (404, 409)),
        200: {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}},
    },
)
def get_report_page(request: Request, run_id: RunId) -> Response:
    """The report for people, as `neuroflux report` writes it, without its picture: one page without scripts."""
    database = service_of(request).database
    report = decode(Report, parse_json(_report_of(request, run_id)))
    plan = known(content.body(database, plans, report.plan_id), f"plan {report.plan_id}")
    record = RunRecord(decode(Plan, parse_json(plan)), report, ())
    problem = difference(report, record.plan)
    if problem is not None:
        detail = f"there is no page of this report: {problem} the run's plan"
        raise Problem(HTTPStatus.CONFLICT, "report-of-another-plan", detail)
    text = make_page(record, None, "the dashboard draws it")
    return Response(text, headers={"Content-Security-Policy": _PAGE_POLICY}, media_type="text/html")


@router.get(
    "/{run_id}/events",
    operation_id="get_events",
    responses={
        **gives({204: ("Everything was sent before; do not come back", None)}, (404,)),
        200: {
            "description": "`state` when it changes, `samples` as they come, then one `report`",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def get_events(
    request: Request,
    run_id: RunId,
    principal: Annotated[Principal, Depends(needs("read"))],
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", description="Go on behind this event")] = None,
) -> Response:
    """A run as it happens (server-sent events)."""
    service = service_of(request)
    run = await _key(service, run_id)
    if last_event_id == events.FINISHED:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return events.EventStream(service, run, events.position_of(last_event_id), principal)
