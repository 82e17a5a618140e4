"""Things that are there: named, labelled, archived, deleted."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies
from api.auth import needs
from api.problems import Problem, not_found
from api.routes.common import BODY_PROBLEMS, gives, json_answer, known, service_of, takes
from api.schemas.plan_responses import PlanItem
from api.schemas.requests import MarkRequest, NamedMarkRequest
from api.schemas.responses import DeviceItem, ModelItem, ProfileItem, RunItem
from api.store import kinds, marks, removal
from api.store.database import Database

router = APIRouter(prefix="/v1")

Id = Annotated[str, Path(max_length=64)]

_EXAMPLE = {"labels": ["nightly", "board:pi5"], "notes": "with the new lens", "archived": False}


def _add_marking(kind: str, asked_as: type[MarkRequest], answer: type) -> None:
    one = kind[:-1]
    example = {"name": "bench-3", **_EXAMPLE} if asked_as is NamedMarkRequest else _EXAMPLE

    @router.patch(
        f"/{kind}/{{identity}}",
        tags=[kind],
        operation_id=f"mark_{one}",
        summary=f"Label, note, archive a {one}{'; name it' if asked_as is NamedMarkRequest else ''}",
        openapi_extra=takes(asked_as, example),
        responses=gives({200: (f"The {one}", answer)}, (*BODY_PROBLEMS, 404)),
        dependencies=[Depends(needs("admin"))],
    )
    async def mark(request: Request, identity: Id) -> Response:
        """What is left out stays as it is. What is archived is no longer in lists, and works as before."""
        asked = await bodies.read(request, asked_as)
        return await run_in_threadpool(_mark, service_of(request).database, kind, identity, asked)


def _mark(database: Database, kind: str, identity: str, asked: MarkRequest) -> Response:
    if not marks.set_marks(database, kind, identity, **vars(asked)):
        raise not_found(f"{kind[:-1]} {identity}{' that is stored' if kind == 'models' else ''}")
    return json_answer(known(kinds.one(database, kind, identity), f"{kind[:-1]} {identity} any more"))


_add_marking("models", MarkRequest, ModelItem)
_add_marking("profiles", MarkRequest, ProfileItem)
_add_marking("plans", MarkRequest, PlanItem)
_add_marking("devices", NamedMarkRequest, DeviceItem)
_add_marking("runs", NamedMarkRequest, RunItem)


def _deletes(kind: str, *problems: int) -> dict[str, Any]:
    """What `router.delete` takes for a route that deletes a thing."""
    return {
        "tags": [kind],
        "operation_id": f"delete_{kind[:-1]}",
        "status_code": 204,
        "responses": gives({204: ("It is gone", None)}, (404, *problems)),
        "dependencies": [Depends(needs("admin"))],
    }


@router.delete("/models/{identity}", **_deletes("models"))
def delete_model(request: Request, identity: Id) -> Response:
    """Delete a stored description. Profiles and plans hold their own, and stay."""
    service = service_of(request)
    if not removal.remove_model(service.database, identity):
        raise not_found(f"model {identity} that is stored")
    service.models.forget(identity)
    return Response(status_code=204)


@router.delete("/runs/{identity}", **_deletes("runs"))
def delete_run(request: Request, identity: Id) -> Response:
    """Delete a run with its samples and its report. A device that still reports it is refused from then on."""
    service = service_of(request)
    if not removal.remove_run(service.database, identity):
        raise not_found(f"run {identity}")
    service.forget_run(identity)
    return Response(status_code=204)


@router.delete("/plans/{identity}", **_deletes("plans", 409))
def delete_plan(
    request: Request,
    identity: Id,
    with_runs: Annotated[bool, Query(description="Delete the runs that execute it as well")] = False,
) -> Response:
    """Delete a plan that no run executes; an equal request makes it again."""
    service = service_of(request)
    for run in removal.runs_of_plan(service.database, identity) if with_runs else ():
        removal.remove_run(service.database, run)
        service.forget_run(run)
    done = removal.remove_plan(service.database, identity)
    if done is False:
        raise not_found(f"plan {identity}")
    if done is not True:
        words = f"{done} runs execute this plan; delete them first, or ask with_runs=true"
        raise Problem(HTTPStatus.CONFLICT, "plan-in-use", words)
    service.forget_plan(identity)
    return Response(status_code=204)
