"""RFC 9457 problems: every error that a client can meet, as `application/problem+json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from api.limits import RETRY_SECONDS
from planner.errors import DocumentError, InfeasibleError, InputError, ModelError, PlannerError

if TYPE_CHECKING:
    from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
_PREFIX = "urn:neuroflux:problem:"


@dataclass(frozen=True)
class ProblemDocument:
    """What went wrong (RFC 9457)."""

    type: str
    """The kind of problem, `urn:neuroflux:problem:…`."""
    title: str
    """The kind in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What was wrong here, and what would be right."""
    field: str | None = None
    """The place in the request, for instance `$.budget.bytes` or `query.limit`."""
    limit: int | None = None
    """The ceiling that was exceeded."""
    minimum_bytes: int | None = None
    """The smallest feasible budget (or storage)."""
    binding_term: str | None = None
    """What most of that consists of."""
    command: str | None = None
    """What to run on the device."""


class Problem(Exception):
    """An answer that is an error. `extra` are members beyond those of every problem."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        field: str | None = None,
        limit: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = {"field": field, "limit": limit, **extra}

    def body(self) -> bytes:
        """The document."""
        document = {
            "type": _PREFIX + self.kind,
            "title": self.kind.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            **{name: value for name, value in self.extra.items() if value is not None},
        }
        return json.dumps(document, allow_nan=False).encode()

    def response(self) -> Response:
        """The answer."""
        from starlette.responses import Response  # the solver's workers do without it

        return Response(self.body(), self.status, self.headers, MEDIA_TYPE)


def invalid(field: str, detail: str, limit: int | None = None) -> Problem:
    """422: a part of the request is wrong."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, field=field, limit=limit)


def not_found(what: str) -> Problem:
    """404."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", f"there is no {what}")


def overloaded(detail: str, status: int = 503, seconds: int = RETRY_SECONDS) -> Problem:
    """503 or 429, with the time after which to try again."""
    kind = "too-many-requests" if status == HTTPStatus.TOO_MANY_REQUESTS else "overloaded"
    return Problem(status, kind, detail, headers={"Retry-After": str(seconds)})


def from_error(error: PlannerError, field: str | None = None) -> Problem:
    """The problem that an error of the planner is."""
    if isinstance(error, InfeasibleError):
        return Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "infeasible",
            str(error),
            field=field or "$.budget.bytes",
            minimum_bytes=error.minimum_bytes,
            binding_term=error.term,
        )
    if isinstance(error, DocumentError):
        return invalid(error.path if field is None else field + error.path.removeprefix("$"), error.problem)
    if isinstance(error, ModelError):
        path = field or "$"
        return invalid(path if error.unit is None else f"{path}.units[{error.unit}]", str(error))
    if isinstance(error, InputError):
        return invalid(field or "$", str(error))
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", str(error))
