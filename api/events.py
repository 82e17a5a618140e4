"""Server-sent events of a run: its state, its samples as they come, then its report. Resumable by `Last-Event-ID`.

The id of samples is the sequence number of the last of them. The stream is fed from the database, so it does not matter
which process the samples went to; what went to this one is sent at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.limits import MAX_EVENT_STREAMS, TOKEN_CHECK_SECONDS
from api.problems import invalid, overloaded
from api.service import Service
from api.store import runs, tokens
from api.store.runs import RunKey
from api.store.tokens import Principal

FINISHED = "finished"
"""The id of the last event."""

_BATCH = 500
_LOOK_SECONDS = 1.0
"""How often the database is asked for what came through other processes."""

_SILENCE_SECONDS = 15
"""A comment is sent after so much silence, so that proxies keep the connection."""


def position_of(last_event_id: str | None) -> int:
    """The sequence number that a client has seen last; -1: none. Raises Problem (422)."""
    if not last_event_id:
        return -1
    if not (last_event_id.isascii() and last_event_id.isdecimal()) or len(last_event_id) > 9:
        raise invalid("header.Last-Event-ID", "is no id of an event of this stream")
    return int(last_event_id)


class EventStream(StreamingResponse):
    """A run's events behind sequence number `after`. Raises Problem (503) where too many streams are open.

    It is counted while it is being sent, and no longer, however early its client leaves.
    """

    def __init__(self, service: Service, run: RunKey, after: int, principal: Principal) -> None:
        if service.changes.streams >= MAX_EVENT_STREAMS:
            raise overloaded("too many event streams are open")
        self._service = service
        found: Any = _events(service, run, after, principal)
        super().__init__(found, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        with self._service.streaming():
            await super().__call__(scope, receive, send)


async def _events(service: Service, run: RunKey, after: int, principal: Principal) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    silent, checked, known = 0.0, time.monotonic(), None
    while not service.changes.are_over:
        if time.monotonic() - checked >= TOKEN_CHECK_SECONDS:
            checked = time.monotonic()
            if not await run_in_threadpool(tokens.is_valid, service.database, principal):
                return
        # The report is looked for first: what came before it is then in what is read next.
        progress = await run_in_threadpool(runs.progress_of, service.database, run)
        if progress is None:
            return
        state, report = progress
        found = await run_in_threadpool(runs.samples_after, service.database, run.number, after, _BATCH)
        if state != known:
            known = state
            yield _event("state", None, state)
        if found:
            after, silent = found[-1]["sequence"], 0.0
            yield _event("samples", str(after), {"samples": found})
            continue
        if report is not None:
            yield _event("report", FINISHED, json.loads(report))
            return
        await service.changes.wait(run.number, _LOOK_SECONDS)
        silent += _LOOK_SECONDS
        if silent >= _SILENCE_SECONDS:
            silent = 0.0
            yield b": still here\n\n"


def _event(kind: str, identity: str | None, data: Any) -> bytes:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    place = "" if identity is None else f"id: {identity}\n"
    return f"event: {kind}\n{place}data: {text}\n\n".encode()
