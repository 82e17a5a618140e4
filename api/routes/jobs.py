"""Jobs: measuring on this service's own machine."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies
from api.auth import needs
from api.known_models import KnownModel
from api.problems import Problem, invalid
from api.routes.common import (
    BODY_PROBLEMS,
    DEFAULT_LIMIT,
    Cursor,
    Key,
    Limit,
    from_cursor,
    gives,
    json_answer,
    known,
    page_answer,
    reads,
    service_of,
    takes,
)
from api.schemas.requests import JobRequest, JobTerms
from api.schemas.responses import JobItem, JobPage
from api.service import Service
from api.store import idempotency, job_rows
from api.store.content import to_bytes
from api.store.idempotency import Once
from api.store.tokens import Principal, new_id
from planner.heads.kinds import measured_heads
from planner.schema.codec import content_id

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


def queue_profile(service: Service, terms: JobTerms, model: KnownModel, once: Once | None) -> dict[str, Any]:
    """Queue a measurement, and show it. An equal one that is not finished yet is not queued again.

    Raises Problem (429).
    """
    request = {
        "model": json.loads(model.body),
        "batch": terms.batch,
        "optimizer": terms.optimizer.optimizer(),
        "dtype": terms.dtype,
        "max_seconds": terms.max_seconds,
        "max_bytes": terms.max_bytes,
    }
    if terms.head is not None:
        request["heads"] = measured_heads(terms.head)
    database, identity = service.database, new_id()
    with database.write() as connection:
        earlier = idempotency.claim(connection, database, once, identity)
        if earlier is None:
            job_id = job_rows.create(connection, database, identity, content_id(request), to_bytes(request))
            if job_id != identity and once is not None:
                idempotency.point_to(connection, once, job_id)
        else:
            job_id = earlier
    job = job_rows.one(database, job_id)
    assert job is not None
    return job


@router.post(
    "",
    operation_id="create_job",
    openapi_extra=takes(JobRequest, {"kind": "profile", "model": "vgg16", "batch": 128}),
    responses=gives({202: ("Queued", JobItem)}, (*BODY_PROBLEMS, 429)),
)
async def create_job(
    request: Request, principal: Annotated[Principal, Depends(needs("jobs"))], key: Key = None
) -> Response:
    """Measure a model on this service's machine, in a process with limits. `Location` says where to look."""
    service, text = service_of(request), await bodies.receive(request)
    once = Once.of(key, principal.token_id, "jobs", text)
    terms, model_value = await run_in_threadpool(_split, text)
    model = await service.models.of(model_value, "$.model")
    job = await run_in_threadpool(queue_profile, service, terms, model, once)
    return json_answer(job, HTTPStatus.ACCEPTED, {"Location": f"/v1/jobs/{job['id']}", "Retry-After": "5"})


def _split(text: bytes) -> tuple[JobTerms, Any]:
    value = bodies.value_of(text)
    if not isinstance(value, dict) or "model" not in value:
        raise invalid("$.model", "this field is missing")
    model = value.pop("model")
    return bodies.decoded(JobTerms, value), model


@router.get("", **reads("list_jobs", "A page of jobs", JobPage))
def list_jobs(request: Request, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> Response:
    """Jobs, newest first."""
    return page_answer(job_rows.page(service_of(request).database, from_cursor(cursor), limit))


@router.get("/{job_id}", **reads("get_job", "The job", JobItem, 404))
def get_job(request: Request, job_id: Annotated[str, Path(max_length=64)]) -> Response:
    """How far a job is."""
    return json_answer(_job(service_of(request), job_id))


def _job(service: Service, job_id: str) -> dict[str, Any]:
    found = job_rows.one(service.database, job_id)
    return known(found, f"job {job_id}")


@router.delete(
    "/{job_id}",
    operation_id="cancel_job",
    responses=gives({202: ("It is being cancelled, or is", JobItem)}, (404, 409)),
    dependencies=[Depends(needs("jobs"))],
)
def cancel_job(request: Request, job_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Cancel a job that has not ended."""
    service = service_of(request)
    if not job_rows.cancel(service.database, job_id):
        state = _job(service, job_id)["state"]
        if state != "cancelled":
            raise Problem(HTTPStatus.CONFLICT, "job-ended", f"the job has ended already: it is {state}")
    return json_answer(_job(service, job_id), HTTPStatus.ACCEPTED)
