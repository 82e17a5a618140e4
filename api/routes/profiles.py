"""Profiles: what a device measured, uploaded."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies
from api.auth import needs
from api.limits import MAX_PROFILE_BYTES
from api.problems import Problem, not_found
from api.routes.common import (
    BODY_PROBLEMS,
    DEFAULT_LIMIT,
    Archived,
    Cursor,
    Label,
    Limit,
    content_answer,
    from_cursor,
    gives,
    json_answer,
    known,
    page_answer,
    reads,
    service_of,
    takes,
)
from api.schemas.responses import ProfileItem, ProfilePage
from api.store import content, marks, profile_rows
from api.store.tables import profiles
from api.store.tokens import Principal
from planner.schema.profile import Profile

router = APIRouter(prefix="/v1/profiles", tags=["profiles"])


@router.get("", **reads("list_profiles", "A page of profiles", ProfilePage))
def list_profiles(
    request: Request,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
    model: Annotated[str | None, Query(description="Only those of the model with this id", max_length=64)] = None,
    fingerprint: Annotated[str | None, Query(description="Only those of this device", max_length=64)] = None,
    archived: Archived = False,
    label: Label = None,
) -> Response:
    """Profiles, newest first."""
    wanted = ((profiles.c.model_id, model), (profiles.c.fingerprint, fingerprint))
    conditions = tuple(column == value for column, value in wanted if value is not None)
    conditions += marks.are_shown(profiles, archived, label)
    return page_answer(profile_rows.page(service_of(request).database, from_cursor(cursor), limit, conditions))


@router.post(
    "",
    operation_id="store_profile",
    openapi_extra=takes(Profile, {"schema": "profile/1", "id": "…", "model": "what `neuroflux profile -o` wrote"}),
    responses=gives({201: ("Stored", ProfileItem), 200: ("It was there already", ProfileItem)}, BODY_PROBLEMS),
)
async def store_profile(request: Request, principal: Annotated[Principal, Depends(needs("report"))]) -> Response:
    """Store what `neuroflux profile -o FILE` wrote. The answer is the profile in short.

    It is planned from for the device that sends it. For others of the same fingerprint it is one of last resort: what
    they have sent themselves comes before it, and what this service measured, ships, or had from its admin.
    """
    service = service_of(request)
    text = await bodies.receive(request, MAX_PROFILE_BYTES)
    row = await service.solvers.check_profile(text)
    owner = principal.device_id or profile_rows.SERVICE
    created = await run_in_threadpool(profile_rows.put, service.database, row, owner)
    conditions = (profiles.c.id == row["id"],)
    found = await run_in_threadpool(profile_rows.page, service.database, None, 1, conditions)
    headers = {"Location": f"/v1/profiles/{row['id']}", "ETag": f'"{row["id"]}"'}
    return json_answer(found.items[0], 201 if created else 200, headers)


@router.get("/{profile_id}", **reads("get_profile", "The profile", Profile, 404, never_changes=True))
def get_profile(request: Request, profile_id: Annotated[str, Path(max_length=64)]) -> Response:
    """A profile."""
    body = content.body(service_of(request).database, profiles, profile_id)
    return content_answer(request, profile_id, known(body, f"profile {profile_id}"))


@router.delete(
    "/{profile_id}",
    operation_id="delete_profile",
    status_code=204,
    responses=gives({204: ("It is gone, or what the device has sent is", None)}, (404,)),
)
def delete_profile(
    request: Request,
    principal: Annotated[Principal, Depends(needs("plan"))],
    profile_id: Annotated[str, Path(max_length=64)],
) -> Response:
    """Delete a profile. A device takes back what it has sent itself; what others have sent too stays theirs. Plans that
    were made from it stay. Shipped profiles come back with the next start of a worker.
    """
    database, owner = service_of(request).database, principal.device_id
    if not profile_rows.remove(database, profile_id, owner):
        if owner is not None and profile_rows.exists(database, profile_id):
            raise Problem(HTTPStatus.FORBIDDEN, "forbidden", "this profile was sent by another device")
        raise not_found(f"profile {profile_id}")
    return Response(status_code=204)
