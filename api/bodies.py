"""Bodies of requests: received within their ceilings, read as the planner reads every document."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from api import documents
from api.limits import MAX_BODIES_BYTES, MAX_BODY_BYTES, MAX_BODY_SECONDS, MAX_DRAINED_BYTES
from api.problems import Problem, from_error, overloaded
from planner.errors import DocumentError
from planner.schema.codec import decode, parse_json
from planner.units import format_bytes

T = TypeVar("T")

_LENGTH_DIGITS = 18
"""Of a Content-Length that is read at all."""

JSON_TYPES = ("application/json", "application/problem+json")
"""Media types of documents."""


class BodyMeter:
    """Counts the bytes of all bodies that are in memory."""

    def __init__(self) -> None:
        self.held_bytes = 0

    def take(self, count: int) -> None:
        """Make room for `count` more bytes. Raises Problem (503)."""
        if self.held_bytes + count > MAX_BODIES_BYTES:
            raise overloaded("too many long requests arrive at one time")
        self.held_bytes += count

    def give_back(self, count: int) -> None:
        """They are gone."""
        self.held_bytes -= count


def media_type(request: Request) -> str:
    """What the body is said to be."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def receive(request: Request, limit: int = MAX_BODY_BYTES, types: tuple[str, ...] = JSON_TYPES) -> bytes:
    """The whole body. Raises Problem: another media type, too long, too slow, no room.

    What is too long is an invalid document (422), as it is on the command line.
    """
    if media_type(request) not in types:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "bodies are JSON: send Content-Type: application/json",
            field="header.Content-Type",
            headers={"Accept": "application/json"},
        )
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > _LENGTH_DIGITS or int(announced) > limit):
        raise _too_long(limit)  # the server throws away what still arrives
    return await collect(request, limit, MAX_BODY_SECONDS)


async def collect(request: Request, limit: int, seconds: float) -> bytes:
    """The whole body, of whatever type. Raises Problem: too long, too slow, no room."""
    try:
        async with asyncio.timeout(seconds):
            return await _collect(request, limit)
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            "body-too-slow",
            f"the body did not arrive within {seconds:.0f} s",
            limit=int(seconds),
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "disconnected", "the connection ended within the body") from None


async def _collect(request: Request, limit: int) -> bytes:
    meter: BodyMeter = request.app.state.service.bodies
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length <= limit:
            meter.take(len(part))
            request.state.body_bytes = getattr(request.state, "body_bytes", 0) + len(part)
            parts.append(part)
        else:
            parts.clear()
        if length > MAX_DRAINED_BYTES:
            break
    if length > limit:
        raise _too_long(limit)
    return b"".join(parts)


def _too_long(limit: int) -> Problem:
    detail = f"the body is longer than {format_bytes(limit)}"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too-long", detail, field="$", limit=limit)


async def read(request: Request, kind: type[T], limit: int = MAX_BODY_BYTES) -> T:
    """The body as a document of schema `kind`. Raises Problem."""
    return await run_in_threadpool(parse, kind, await receive(request, limit))


def parse(kind: type[T], text: bytes) -> T:
    """A document of schema `kind`. Raises Problem that names the place."""
    try:
        return documents.parse(kind, text)
    except DocumentError as error:
        raise from_error(error) from None


def value_of(text: bytes) -> Any:
    """One JSON value. Raises Problem."""
    try:
        return parse_json(text)
    except DocumentError as error:
        raise from_error(error) from None


def decoded(kind: type[T], value: Any, path: str = "$") -> T:
    """A JSON value as a document of schema `kind`. Raises Problem that names the place."""
    try:
        return decode(kind, value, path)
    except DocumentError as error:
        raise from_error(error) from None
