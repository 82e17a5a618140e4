"""What the routes have in common: pages, documents that never change, and how they are described."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Query, Request
from starlette.responses import Response

from api.auth import Scope, needs
from api.limits import DEFAULT_PAGE, MAX_LABEL_LENGTH, MAX_PAGE
from api.problems import ProblemDocument, invalid, not_found
from api.service import Service
from api.store.content import Page

Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before", max_length=64)]
Limit = Annotated[int, Query(description="Items of one page", ge=1, le=MAX_PAGE)]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Sent again with the same body, it creates nothing twice"),
]
Archived = Annotated[bool, Query(description="Those that are archived, in place of those that are not")]
Label = Annotated[str | None, Query(description="Only those with this label", max_length=MAX_LABEL_LENGTH)]
DEFAULT_LIMIT = DEFAULT_PAGE

T = TypeVar("T")


def service_of(request: Request) -> Service:
    """The state of this process."""
    service: Service = request.app.state.service
    return service


def to_cursor(number: int | None) -> str | None:
    """The position behind a page, as clients carry it."""
    return None if number is None else base64.urlsafe_b64encode(f"n{number}".encode()).decode().rstrip("=")


def from_cursor(text: str | None) -> int | None:
    """The position that a cursor stands for. Raises Problem (422)."""
    if text is None:
        return None
    try:
        found = re.fullmatch(rb"n([0-9]{1,18})", base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        found = None
    if found is None:
        raise invalid("query.cursor", "is no cursor of this service; take next_cursor of the page before")
    return int(found[1])


def page_answer(page: Page) -> Response:
    """A page."""
    return json_answer({"items": page.items, "next_cursor": to_cursor(page.next_number)})


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Plain values as JSON."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, status, headers, "application/json")


def content_answer(request: Request, identity: str, body: bytes, status: int = 200, path: str = "") -> Response:
    """A document that never changes: its id is its ETag."""
    headers = {"ETag": f'"{identity}"', "Cache-Control": "private, no-cache"}
    if path:
        headers["Location"] = path
    elif status == 200 and identity in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(body, status, headers, "application/json")


def ref(kind: type) -> dict[str, Any]:
    """A reference to a schema's description."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def takes(kind: type, example: Any) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is a `kind`."""
    content = {"application/json": {"schema": ref(kind), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


_WORDS = {
    400: "The connection ended within the body",
    401: "No valid token",
    403: "The token may not do this, or the request comes from a page of another origin",
    404: "There is no such thing",
    408: "The body arrived too slowly",
    409: "Something else has to be done first",
    410: "It was there and is not any more",
    415: "The body is not JSON",
    422: "A part of the request is wrong, or nothing fits",
    429: "Too many requests; try again after Retry-After",
    503: "Overloaded; try again after Retry-After",
}


def gives(kinds: Mapping[int, tuple[str, type | None]], problems: tuple[int, ...] = ()) -> dict[int | str, Any]:
    """`responses` of a route: a description and a schema for each status, and the problems it may answer."""
    found: dict[int | str, Any] = {}
    for status, (words, kind) in kinds.items():
        content = {} if kind is None else {"content": {"application/json": {"schema": ref(kind)}}}
        found[status] = {"description": words, **content}
    for status in sorted({401, 403, 422, 503, *problems}):
        if status not in found:
            content = {"application/problem+json": {"schema": ref(ProblemDocument)}}
            found[status] = {"description": _WORDS[status], "content": content}
    return found


def reads(
    operation: str, words: str, kind: type, *problems: int, scope: Scope = "read", never_changes: bool = False
) -> dict[str, Any]:
    """What `router.get` takes for a route whose answer is a `kind`, for whoever has `scope`."""
    answers: dict[int, tuple[str, type | None]] = {200: (words, kind)}
    if never_changes:
        answers[304] = ("It has not changed", None)
    responses = gives(answers, problems)
    return {"operation_id": operation, "responses": responses, "dependencies": [Depends(needs(scope))]}


def known(found: T | None, what: str) -> T:
    """What was looked for. Raises Problem (404) where there is none."""
    if found is None:
        raise not_found(what)
    return found


BODY_PROBLEMS = (400, 408, 415)
"""What every route with a body may answer."""
