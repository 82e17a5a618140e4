"""Server-sent events of a run: its samples as they come, then its report. Resumable by `Last-Event-ID`.

An event's id is the sequence number of its last sample. The stream is fed from the database, so it does not matter
which process the samples went to; what went to this one is sent at once.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.limits import MAX_EVENT_STREAMS
from api.problems import invalid, overloaded
from api.service import Service
from api.store import runs
from api.store.runs import RunKey

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


def stream(service: Service, run: RunKey, after: int) -> AsyncIterator[bytes]:
    """The events behind sequence number `after`. Raises Problem (503) where too many streams are open."""
    if service.changes.streams >= MAX_EVENT_STREAMS:
        raise overloaded("too many event streams are open")
    service.changes.streams += 1
    return _counted(service, _events(service, run, after))


async def _counted(service: Service, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield event
    finally:
        service.changes.streams -= 1


async def _events(service: Service, run: RunKey, after: int) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    silent = 0.0
    while True:
        # The report is looked for first: what came before it is then in what is read next.
        report = await run_in_threadpool(runs.report_of, service.database, run.number)
        found = await run_in_threadpool(runs.samples_after, service.database, run.number, after, _BATCH)
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


def _event(kind: str, identity: str, data: Any) -> bytes:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"event: {kind}\nid: {identity}\ndata: {text}\n\n".encode()
