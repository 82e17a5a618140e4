"""The browser's session: a token handed in once, then a cookie that scripts cannot read.

EventSource sends no header of ours, and a token in a page's storage is any script's.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api import bodies
from api.auth import COOKIE, check_origin, may, needs
from api.limits import MAX_FORM_BYTES, MAX_FORM_SECONDS, SESSION_SECONDS
from api.problems import not_found
from api.routes.common import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    from_cursor,
    gives,
    json_answer,
    page_answer,
    reads,
    service_of,
)
from api.schemas.responses import SessionItem, SessionPage
from api.store import tokens
from api.store.content import Page
from api.store.tokens import Principal

router = APIRouter(tags=["session"])

SIGN_IN = ("/", "/docs", "/sign-in")
"""Where a form for signing in is taken: pages, which show one to who has no session, and an address for programs."""


@router.post(
    "/v1/session",
    operation_id="sign_in",
    status_code=204,
    responses=gives({204: ("The cookie is set", None)}),
)
async def sign_in(request: Request, principal: Annotated[Principal, Depends(needs("sign-in"))]) -> Response:
    """Exchange the token of the Authorization header for a session's cookie."""
    return await run_in_threadpool(_with_cookie, request, principal, Response(status_code=204))


def _with_cookie(request: Request, principal: Principal, answer: Response) -> Response:
    token = tokens.new_token()
    with service_of(request).database.write() as connection:
        tokens.add(connection, token, "session", seconds=SESSION_SECONDS, name=principal.name, by=principal)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, SESSION_SECONDS, httponly=True, samesite="strict", secure=secure)
    return answer


@router.get(
    "/v1/session",
    operation_id="get_session",
    responses=gives({200: ("Who asks", SessionItem)}),
)
def get_session(request: Request, principal: Annotated[Principal, Depends(needs("read"))]) -> Response:
    """Who asks: a page shows by it whether there is a session to end."""
    role = principal.role or principal.kind
    authentication = service_of(request).settings.authentication
    return json_answer({"authentication": authentication, "kind": principal.kind, "role": role, "name": principal.name})


@router.delete(
    "/v1/session",
    operation_id="sign_out",
    status_code=204,
    responses=gives({204: ("The session has ended", None)}),
)
def sign_out(request: Request, principal: Annotated[Principal, Depends(needs("read"))]) -> Response:
    """End the session."""
    if principal.kind == "session":
        with service_of(request).database.write() as connection:
            tokens.revoke(connection, token_id=principal.token_id)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.get("/v1/sessions", **reads("list_sessions", "A page of sessions", SessionPage, scope="admin"))
def list_sessions(
    request: Request,
    principal: Annotated[Principal, Depends(needs("admin"))],
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Response:
    """Browsers that are signed in, newest first."""
    found = tokens.page(service_of(request).database, ("session",), from_cursor(cursor), limit)
    items = tuple({**item, "is_own": item["id"] == principal.token_id} for item in found.items)
    return page_answer(Page(items, found.next_number))


@router.delete(
    "/v1/sessions/{session_id}",
    operation_id="end_session",
    status_code=204,
    responses=gives({204: ("It has ended", None)}, (404,)),
    dependencies=[Depends(needs("admin"))],
)
def end_session(request: Request, session_id: Annotated[str, Path(max_length=64)]) -> Response:
    """End somebody's session."""
    if not tokens.end(service_of(request).database, ("session",), session_id):
        raise not_found(f"open session {session_id}")
    return Response(status_code=204)


@router.post("/", include_in_schema=False)
@router.post("/docs", include_in_schema=False)
@router.post("/sign-in", include_in_schema=False)
async def sign_in_form(request: Request) -> Response:
    """What the page for signing in sends: a form, since it has no script. Its token is checked here.

    It is sent to the page that was asked for, and that is shown then: a browser keeps what stands behind `#` in it.
    """
    service = service_of(request)
    check_origin(request.headers, "POST", has_cookie=True)
    text = await bodies.collect(request, MAX_FORM_BYTES, MAX_FORM_SECONDS)
    token = parse_qs(text.decode("ascii", "replace")).get("token", [""])[0].strip()
    principal = await run_in_threadpool(tokens.find, service.database, token)
    if principal is None or not may(principal, "sign-in"):
        return service.sign_in_page(request.scope.get("root_path", ""), token)
    request.state.principal = principal
    page = request.scope["route"].path
    answer = RedirectResponse("/" if page == "/sign-in" else page, HTTPStatus.SEE_OTHER)
    return await run_in_threadpool(_with_cookie, request, principal, answer)
