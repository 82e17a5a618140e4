"""What stands before every route: ceilings of a request, Host and Origin, who asks, and headers of every answer."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import auth, limits
from api.problems import Problem, invalid, overloaded
from api.routes.session import SIGN_IN
from api.service import Service
from api.store import audit, device_rows, tokens
from planner.errors import PlannerError

_LOG = logging.getLogger("neuroflux.api")

_HEALTH = "/healthz"
_READY = "/readyz"
_OPEN = frozenset(
    {("GET", _HEALTH), ("GET", _READY), *(("POST", page) for page in SIGN_IN), ("GET", "/pages/sign_in.css")}
)
"""What needs no token beside the request: the first two say nothing but whether this service works, the pages find
their token in the form that they receive, and the last is how the page with that form looks."""

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script or style, nothing from elsewhere."""

_GONE = 499
"""What is counted as the status of a request whose client has gone before it had an answer."""

_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # under no-referrer a browser sends a form with `Origin: null`
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, scope, self._audit)
        started = time.perf_counter()
        try:
            await self._guarded(scope, receive, answer)
        except Problem as problem:
            await self._refuse(problem, scope, receive, answer)
        except ClientDisconnect:
            answer.status = answer.status or _GONE
        except Exception as error:
            await self._refuse(_unexpected(error, scope), scope, receive, answer)
        finally:
            self._service.bodies.give_back(scope.get("state", {}).get("body_bytes", 0))
            seconds = time.perf_counter() - started
            self._service.metrics.observe(scope["method"], _route(scope), answer.status, seconds)

    async def _guarded(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = Headers(scope=scope)
        _check_sizes(scope)
        path = _path(scope)
        if path == _HEALTH:
            # Before everything that may be busy: this says that the process answers.
            await self._app(scope, receive, answer)
            return
        auth.check_host(headers, self._service.settings)
        service = self._service
        if path == _READY:
            # Neither counted nor kept waiting by others: however many ask, the database is asked once at a time.
            scope.setdefault("state", {})["principal"] = auth.LOCAL
            await self._app(scope, receive, answer)
            return
        client = scope.get("client") or ("",)
        is_open = (scope["method"], path) in _OPEN
        with service.open_lane.slot(client[0]) if is_open else service.answering():
            scope.setdefault("state", {})["principal"] = await self._principal(scope, headers, is_open)
            service.check_room(scope["method"], path)
            await self._app(scope, receive, answer)

    async def _principal(self, scope: Scope, headers: Headers, is_open: bool) -> tokens.Principal | None:
        token = auth.bearer(headers)
        session = auth.cookie(headers) if token is None else None
        auth.check_origin(headers, scope["method"], session is not None)
        if token is None and session is None:
            if self._service.settings.authentication and not is_open:
                raise auth.unauthorized()
            return auth.LOCAL
        principal = await run_in_threadpool(tokens.find, self._service.database, token or session or "")
        if principal is not None and (principal.kind == "session") != (session is not None):
            principal = None  # a session is good as a cookie alone, other tokens as a header alone
        if principal is None and session is not None and not self._service.settings.authentication:
            return auth.LOCAL  # a cookie of yesterday
        if principal is None and not is_open:
            raise auth.unauthorized()
        if principal is not None and principal.device_id is not None and self._service.is_news(principal.device_id):
            # What is asked is answered though this cannot be written down now.
            with contextlib.suppress(Problem, SQLAlchemyError):
                await run_in_threadpool(device_rows.set_seen, self._service.database, principal.device_id)
        return principal or auth.LOCAL

    async def _audit(self, scope: Scope, status: int, location: str) -> None:
        """Write down who changed what, or was not allowed to, before they hear of it."""
        principal = scope.get("state", {}).get("principal")
        action = _operation(scope)
        if principal is None or action is None or not _is_worth(scope["method"], action, status):
            return
        what, client = location or scope["path"], (scope.get("client") or ("",))[0]
        try:
            await run_in_threadpool(audit.add, self._service.database, principal, action, what, status, client)
        except (Problem, SQLAlchemyError) as error:
            # It is done; whoever asked for it hears so.
            _LOG.error(
                "not written down: %s %s by token %s (%s)", action, what, principal.token_id, type(error).__name__
            )

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if answer.status:
            return  # half an answer has gone out; the connection is closed behind it
        headers = Headers(scope=scope)
        if problem.status == HTTPStatus.UNAUTHORIZED and _wants_page(headers, scope):
            await self._service.sign_in_page(scope.get("root_path", ""))(scope, receive, answer)
            return
        await problem.response()(scope, receive, answer)


class _Answer:
    """Sends an answer, with the headers that all answers have."""

    def __init__(self, send: Send, scope: Scope, audit: Callable[[Scope, int, str], Awaitable[None]]) -> None:
        self._send = send
        self._scope = scope
        self._audit = audit
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            if self._scope["method"] not in auth.SAFE:
                await self._audit(self._scope, self.status, headers.get("location", ""))
            if headers.get("location", "").startswith("/"):
                headers["location"] = self._scope.get("root_path", "") + headers["location"]
        await self._send(message)


_UNTOLD = frozenset({"post_samples", "set_run_state", "compare_plans"})
"""What changes something all the time, or nothing that lasts."""


def _is_worth(method: str, action: str, status: int) -> bool:
    """Whether something has changed, which a POST says by 201, or somebody was kept from it."""
    if status == HTTPStatus.FORBIDDEN:
        return True
    is_done = status < HTTPStatus.BAD_REQUEST and not (method == "POST" and status == HTTPStatus.OK)
    return is_done and action not in _UNTOLD


def _operation(scope: Scope) -> str | None:
    """What a route does, by its id in the description, or its name where it is not described."""
    route: Any = scope.get("route")
    found = getattr(route, "operation_id", None) or getattr(route, "name", None)
    return found if isinstance(found, str) else None


def _path(scope: Scope) -> str:
    """The path as routes know it: below where a proxy shows this service."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _check_sizes(scope: Scope) -> None:
    if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > limits.MAX_REQUEST_LINE_BYTES:
        ceiling = limits.MAX_REQUEST_LINE_BYTES
        raise Problem(
            HTTPStatus.REQUEST_URI_TOO_LONG, "path-too-long", "path and query are too long", field="path", limit=ceiling
        )
    pairs = scope["headers"]
    for count, ceiling in (
        (len(pairs), limits.MAX_HEADERS),
        (sum(len(name) + len(value) for name, value in pairs), limits.MAX_HEADER_BYTES),
    ):
        if count > ceiling:
            raise Problem(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "there are too many headers, or they are too long",
                field="header",
                limit=ceiling,
            )
    if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
        raise invalid("path", "path and query hold no NUL")


def _unexpected(error: Exception, scope: Scope) -> Problem:
    """The problem for an error that no route foresaw."""
    if isinstance(error, SQLAlchemyError):
        # Without the error's text: it may hold the statement's values.
        _LOG.error("the database failed in %s %s: %s", scope["method"], _route(scope), type(error).__name__)
        return overloaded("the database does not answer")
    _LOG.error("an error in %s %s", scope["method"], _route(scope), exc_info=error)
    detail = str(error) if isinstance(error, PlannerError) else "an error in this service; its log has the details"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", detail)


def _route(scope: Scope) -> str:
    """The template of the route, which holds no ids."""
    found: Any = scope.get("route")
    path = getattr(found, "path", None)
    return path if isinstance(path, str) and path else "unmatched"


def _wants_page(headers: Headers, scope: Scope) -> bool:
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")
