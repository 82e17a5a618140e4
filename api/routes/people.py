"""People and programs: their tokens, and who changed what."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies
from api.auth import needs
from api.problems import not_found
from api.routes.common import (
    BODY_PROBLEMS,
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    from_cursor,
    gives,
    json_answer,
    page_answer,
    reads,
    service_of,
    takes,
)
from api.schemas.requests import TokenRequest
from api.schemas.responses import AuditPage, NewToken, TokenPage
from api.store import audit, tokens
from api.store.tables import audit as rows

router = APIRouter(prefix="/v1", tags=["people"])


@router.post(
    "/tokens",
    operation_id="create_token",
    openapi_extra=takes(TokenRequest, {"name": "grafana", "role": "metrics"}),
    responses=gives({201: ("The token, shown this once", NewToken)}, BODY_PROBLEMS),
    dependencies=[Depends(needs("admin"))],
)
async def create_token(request: Request) -> Response:
    """Let a person or a program in: `read` looks at everything, `metrics` reads /metrics, `admin` does everything."""
    asked = await bodies.read(request, TokenRequest)
    database = service_of(request).database
    made = await run_in_threadpool(tokens.add_named, database, asked.name, asked.role, asked.seconds)
    return json_answer(made, HTTPStatus.CREATED, {"Location": f"/v1/tokens/{made['id']}"})


@router.get("/tokens", **reads("list_tokens", "A page of tokens", TokenPage, scope="admin"))
def list_tokens(request: Request, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> Response:
    """Tokens of people and programs that are still good, newest first; not the tokens themselves."""
    return page_answer(tokens.page(service_of(request).database, tokens.ROLES, from_cursor(cursor), limit))


@router.delete(
    "/tokens/{token_id}",
    operation_id="end_token",
    status_code=204,
    responses=gives({204: ("It is worthless, and so are sessions begun with it", None)}, (404,)),
    dependencies=[Depends(needs("admin"))],
)
def end_token(request: Request, token_id: Annotated[str, Path(max_length=64)]) -> Response:
    """End a token. The one of the admin's file comes back where the service starts with that file again."""
    if not tokens.end(service_of(request).database, tokens.ROLES, token_id):
        raise not_found(f"token {token_id} that is still good")
    return Response(status_code=204)


@router.get("/audit", **reads("list_audit", "A page of changes", AuditPage, scope="admin"))
def list_audit(
    request: Request,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
    action: Annotated[str | None, Query(description="Only this operation, by its id", max_length=64)] = None,
    token: Annotated[str | None, Query(description="Only by the token with this id", max_length=64)] = None,
) -> Response:
    """Who changed what, newest first: everything but samples and signs of life of runs. Kept for 400 days."""
    wanted = ((rows.c.action, action), (rows.c.token_id, token))
    conditions = tuple(column == value for column, value in wanted if value is not None)
    return page_answer(audit.page(service_of(request).database, from_cursor(cursor), limit, conditions))
