"""Profiles: what a device measured, uploaded."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies
from api.auth import needs
from api.limits import MAX_PROFILE_BYTES
from api.routes.common import (
    BODY_PROBLEMS,
    DEFAULT_LIMIT,
    Cursor,
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
from api.store import content
from api.store.tables import profiles
from planner.schema.profile import Profile

router = APIRouter(prefix="/v1/profiles", tags=["profiles"])


@router.get("", **reads("list_profiles", "A page of profiles", ProfilePage))
def list_profiles(
    request: Request,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
    model: Annotated[str | None, Query(description="Only those of the model with this id", max_length=64)] = None,
    fingerprint: Annotated[str | None, Query(description="Only those of this device", max_length=64)] = None,
) -> Response:
    """Profiles, newest first."""
    wanted = ((profiles.c.model_id, model), (profiles.c.fingerprint, fingerprint))
    conditions = tuple(column == value for column, value in wanted if value is not None)
    return page_answer(content.page(service_of(request).database, profiles, from_cursor(cursor), limit, conditions))


@router.post(
    "",
    operation_id="store_profile",
    openapi_extra=takes(Profile, {"schema": "profile/1", "id": "…", "model": "what `neuroflux profile -o` wrote"}),
    responses=gives({201: ("Stored", ProfileItem), 200: ("It was there already", ProfileItem)}, BODY_PROBLEMS),
    dependencies=[Depends(needs("report"))],
)
async def store_profile(request: Request) -> Response:
    """Store what `neuroflux profile -o FILE` wrote. The answer is the profile in short."""
    service = service_of(request)
    text = await bodies.receive(request, MAX_PROFILE_BYTES)
    row = await service.solvers.check_profile(text)
    created = await run_in_threadpool(content.put, service.database, profiles, row)
    conditions = (profiles.c.id == row["id"],)
    found = await run_in_threadpool(content.page, service.database, profiles, None, 1, conditions)
    headers = {"Location": f"/v1/profiles/{row['id']}", "ETag": f'"{row["id"]}"'}
    return json_answer(found.items[0], 201 if created else 200, headers)


@router.get("/{profile_id}", **reads("get_profile", "The profile", Profile, 404, never_changes=True))
def get_profile(request: Request, profile_id: Annotated[str, Path(max_length=64)]) -> Response:
    """A profile."""
    body = content.body(service_of(request).database, profiles, profile_id)
    return content_answer(request, profile_id, known(body, f"profile {profile_id}"))
