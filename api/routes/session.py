"""The browser's session: a token handed in once, then a cookie that scripts cannot read.

EventSource sends no header of ours, and a token in a page's storage is any script's.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.auth import COOKIE, check_origin, needs
from api.limits import MAX_BODY_SECONDS, SESSION_SECONDS
from api.problems import Problem
from api.routes.common import gives, json_answer, service_of
from api.schemas.responses import SessionItem
from api.service import Service
from api.store import tokens
from api.store.tokens import Principal

router = APIRouter(tags=["session"])

_MAX_FORM_BYTES = 4096


@router.post(
    "/v1/session",
    operation_id="sign_in",
    status_code=204,
    responses=gives({204: ("The cookie is set", None)}),
)
async def sign_in(request: Request, principal: Annotated[Principal, Depends(needs("admin"))]) -> Response:
    """Exchange the token of the Authorization header for a session's cookie."""
    return await run_in_threadpool(_with_cookie, request, service_of(request), Response(status_code=204))


def _with_cookie(request: Request, service: Service, answer: Response) -> Response:
    token = tokens.new_token()
    with service.database.write() as connection:
        tokens.add(connection, token, "session", seconds=SESSION_SECONDS)
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
    return json_answer({"authentication": service_of(request).settings.authentication, "kind": principal.kind})


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


@router.post("/sign-in", include_in_schema=False)
async def sign_in_form(request: Request) -> Response:
    """What the page for signing in sends: a form, since it has no script. Its token is checked here."""
    service = service_of(request)
    check_origin(request.headers, "POST", has_cookie=True)
    text = b""
    async with asyncio.timeout(MAX_BODY_SECONDS):
        async for part in request.stream():
            text += part
            if len(text) > _MAX_FORM_BYTES:
                raise Problem(
                    HTTPStatus.UNPROCESSABLE_ENTITY, "too-long", "the form is too long", limit=_MAX_FORM_BYTES
                )
    token = parse_qs(text.decode("ascii", "replace")).get("token", [""])[0].strip()
    principal = await run_in_threadpool(tokens.find, service.database, token)
    if principal is None or principal.kind != "admin":
        return service.sign_in_page()
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    return await run_in_threadpool(_with_cookie, request, service, answer)
