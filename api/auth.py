"""Who may do what. Every request but those for health has a principal, or is refused before it reaches its route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request

from api.problems import Problem
from api.settings import ServiceSettings
from api.store.tokens import LOCAL_ID, Kind, Principal

Scope = Literal["read", "metrics", "plan", "report", "jobs", "admin", "enrol", "sign-in"]

COOKIE = "neuroflux_session"
"""The browser's session."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

LOCAL = Principal("admin", LOCAL_ID, name="this machine")
"""Who asks a service without authentication, which only this machine reaches."""

_SCOPES: dict[Kind, frozenset[Scope]] = {
    "admin": frozenset({"read", "metrics", "plan", "report", "jobs", "admin", "enrol", "sign-in"}),
    "read": frozenset({"read", "metrics", "sign-in"}),
    "metrics": frozenset({"metrics"}),
    "device": frozenset({"read", "metrics", "plan", "report"}),
    "session": frozenset({"read", "metrics", "plan", "jobs", "admin"}),
    "enrolment": frozenset({"enrol"}),
}


def bearer(headers: Headers) -> str | None:
    """The token of the Authorization header."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def cookie(headers: Headers) -> str | None:
    """The token of the session's cookie."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def unauthorized() -> Problem:
    """401."""
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        "a valid token is needed: Authorization: Bearer TOKEN",
        headers={"WWW-Authenticate": 'Bearer realm="neuroflux"'},
    )


def may(principal: Principal, scope: Scope) -> bool:
    """Whether a principal has a scope."""
    return scope in _SCOPES[principal.kind] and (principal.role is None or scope in _SCOPES[_role(principal)])


def _role(principal: Principal) -> Kind:
    """What kind of token a session was begun with."""
    return "read" if principal.role == "read" else "admin"


def needs(scope: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """A route's dependency: the principal, who must have `scope`. Raises Problem (403)."""

    async def check(request: Request) -> Principal:  # async: a plain function would be sent to a thread
        principal: Principal = request.state.principal
        if not may(principal, scope):
            raise Problem(HTTPStatus.FORBIDDEN, "forbidden", _refusal(principal))
        return principal

    return check


def _refusal(principal: Principal) -> str:
    if "read" in (principal.kind, principal.role):
        return "who may read may not change anything"
    return f"a token of kind {principal.kind} may not do this"


def check_host(headers: Headers, settings: ServiceSettings) -> None:
    """Refuse names that are not ours: a page elsewhere could have its own name resolve to this machine.

    Addresses are let through, for they cannot be rebound. Raises Problem (421).
    """
    name = _host_name(headers.getlist("host"))
    if name is None or not (_is_address(name) or name in settings.all_host_names):
        raise Problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            "unknown-host",
            "this service is not known by that name; --host-name adds one",
            field="header.Host",
        )


def _host_name(given: list[str]) -> str | None:
    """The name or address that exactly one well-formed Host header carries."""
    try:
        parts = urlsplit(f"//{given[0]}") if len(given) == 1 else urlsplit("")
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    return parts.hostname


def _is_address(name: str) -> bool:
    return ":" in name or all(part.isdecimal() for part in name.split("."))


def check_origin(headers: Headers, method: str, has_cookie: bool) -> None:
    """Refuse what a page of another origin sends. Raises Problem (403).

    A request that is authenticated by its cookie and changes something must say where it comes from.
    """
    origin = headers.get("origin")
    if origin is None:
        if has_cookie and method not in SAFE:
            raise _foreign("a browser's request that changes something needs an Origin")
        return
    if urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise _foreign("requests of pages from elsewhere are refused")


def _foreign(detail: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, "foreign-origin", detail, field="header.Origin")
