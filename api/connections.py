"""Connections: how long the parts of a request may take to arrive, and who has to go when there are too many.

uvicorn closes a connection that is idle between two requests, and waits for ever for the rest of one that trickles in.
What a client without a token can hold here is a connection for `HEAD_SECONDS`: a request without its whole head has not
begun, so one that is too many takes the place of the oldest such connection, of the client that has most of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections import Counter
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.limits import HEAD_SECONDS, HEALTH_CONNECTIONS, MAX_BODY_SECONDS, MAX_CONNECTIONS, MAX_HEAD_BYTES

_LOG = logging.getLogger("neuroflux.api")

HEALTH = b"/healthz"
"""What is answered on any connection."""

_OTHER_FILES = 256
"""Open files besides connections: the database's, workers' pipes, pages."""


class Connections(ServerState):
    """All connections of a server."""

    def __init__(self) -> None:
        super().__init__()
        self.most = min(MAX_CONNECTIONS, _allow_files(MAX_CONNECTIONS + HEALTH_CONNECTIONS + _OTHER_FILES))
        self.waiting: dict[Connection, None] = {}
        """Those without a whole head of a request, in the order in which they began to wait."""

    def make_room(self, newest: Connection) -> None:
        """End a connection that waits where there are too many; with none that does, `newest` is for health alone."""
        if len(self.connections) <= self.most:
            return
        others = [each for each in self.waiting if each is not newest]
        if others:
            by_client = Counter(each.host for each in others)
            most = max(by_client.values())
            next(each for each in others if by_client[each.host] == most).abort()
        elif len(self.connections) <= self.most + HEALTH_CONNECTIONS:
            newest.for_health = True
        else:
            newest.abort()


def _allow_files(wanted: int) -> int:
    """Let this process open so many files; how many connections that leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, soft - HEALTH_CONNECTIONS - _OTHER_FILES)


class Connection(HttpToolsProtocol):
    """One connection. uvicorn's, with deadlines for what a client sends."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(server_state, Connections)
        self._all = server_state
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._within_body = False  # of a request that has its answer already
        self.for_health = False

    @property
    def host(self) -> str:
        """The client's address."""
        return self.client[0] if self.client else ""

    def abort(self) -> None:
        """End it without a word."""
        self._all.waiting.pop(self, None)
        self.connections.discard(self)
        self._set_deadline(None)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client has come."""
        super().connection_made(transport)
        self._all.waiting[self] = None
        self._set_deadline(HEAD_SECONDS)
        self._all.make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._set_deadline(None)
        self._all.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        if self in self._all.waiting and not self._within_body:
            if self._deadline is None:
                self._set_deadline(HEAD_SECONDS)
            self._head_bytes += len(data)
        super().data_received(data)
        if self in self._all.waiting and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        """A request has begun."""
        self._all.waiting.pop(self, None)
        self._set_deadline(None)
        self._head_bytes = 0
        self._within_body = False
        # At 0 uvicorn answers 503.
        self.limit_concurrency = 0 if self.for_health and self.url != HEALTH else None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request has its answer."""
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and not self.transport.is_closing():
            self._all.waiting[self] = None
            self._within_body = self.cycle.more_body
            if self._within_body:
                self._set_deadline(MAX_BODY_SECONDS)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.abort)
