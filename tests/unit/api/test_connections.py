"""What clients without a token may hold: real sockets against a real server."""

from __future__ import annotations

import logging
import re
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api import connections, limits
from tests.unit.api.service import ADMIN
from tests.unit.api.sockets import PATIENCE_SECONDS, Listening, break_off, listening, rest, status

FORM = "Origin: http://127.0.0.1\nHost: 127.0.0.1\nContent-Type: application/x-www-form-urlencoded\n"

_ASKS_FIRST = ("Expect: 100-continue",)
"""The server says that it listens when the request's body is read."""


@pytest.fixture
def served(sqlite_url: str, tmp_path: Path) -> Iterator[Listening]:
    with listening(sqlite_url, tmp_path) as found:
        yield found


def test_a_head_that_trickles_in_is_given_up(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with listening(sqlite_url, tmp_path) as served:
        silent, trickling = served.connect(), served.send("GET / HTTP/1.1\nX: ")
        ended, sent = False, 0
        while not ended and sent < 20 * PATIENCE_SECONDS:  # a byte at a time, for as long as the server takes them
            try:
                trickling.sendall(b"x")
                sent += 1
                ended = bool(select.select([trickling], [], [], 0.05)[0]) and not trickling.recv(1)
            except ConnectionError:
                ended = True
        assert ended
        assert rest(silent) == b""
        assert served.client.get("/healthz").status_code == 200
        idle = served.send(served.head("GET", "/healthz"))
        assert status(idle) == 200
        assert not select.select([idle], [], [], 1.0)[0] or idle.recv(65536), "idle between requests is no slow head"


def test_a_head_without_end_is_not_kept(served: Listening) -> None:
    endless = served.send("GET / HTTP/1.1\n")
    try:
        for _ in range(limits.MAX_HEAD_BYTES // 1024 + 2000):
            endless.sendall(b"X: " + b"x" * 1019 + b"\r\n")
    except ConnectionError:
        return
    assert b"400" in rest(endless)


def test_who_only_connects_makes_room_for_who_asks(served: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 10**6)  # nobody goes for another reason
    served.server.config.timeout_keep_alive = 10**6
    served.server.server_state.most = 8  # type: ignore[attr-defined]  # Connections
    with ExitStack() as stack:
        friend = stack.enter_context(served.send(served.head("GET", "/healthz"), source="127.0.0.3"))
        assert b"200 OK" in healthy(friend)
        for _ in range(40):
            stack.enter_context(served.send("GET / HTTP/1.1\nX: ", source="127.0.0.2"))
        assert served.client.get("/healthz").status_code == 200
        assert served.client.get("/v1/runs").status_code == 200
        friend.sendall(served.head("GET", "/healthz").replace("\n", "\r\n").encode())
        assert b"200 OK" in healthy(friend), "the attack's own connections had to go first"


def healthy(connection: socket.socket) -> bytes:
    """The whole of an answer about health."""
    found = b""
    while not found.endswith(b"}") and (part := connection.recv(65536)):
        found += part
    return found


def test_health_is_answered_where_every_connection_is_busy(served: Listening) -> None:
    served.server.server_state.most = 3  # type: ignore[attr-defined]  # Connections
    with ExitStack() as stack:
        waits = served.head("POST", "/v1/models", "Content-Type: application/json", "Content-Length: 9", *_ASKS_FIRST)
        for _ in range(3):
            assert status(stack.enter_context(served.send(waits))) == 100  # it is being answered
        asks = stack.enter_context(served.send(served.head("GET", "/healthz") + served.head("GET", "/v1/runs")))
        assert re.findall(rb"HTTP/1.1 (\d+)", rest(asks)) == [b"200", b"503"]


def test_slow_forms_hold_nobody_up_and_are_no_errors(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.routes.session.MAX_FORM_SECONDS", 1.0)
    monkeypatch.setattr(limits, "MAX_IN_FLIGHT", 4)
    slow = f"POST /sign-in HTTP/1.1\n{FORM}Content-Length: 99\n\ntoken="
    with listening(sqlite_url, tmp_path) as served, ExitStack() as stack:
        held = [stack.enter_context(served.send(slow)) for _ in range(limits.MAX_WITHOUT_TOKEN_OF_ONE)]
        until_held(served, len(held))
        assert status(stack.enter_context(served.send(slow))) == 503
        assert served.client.get("/v1/runs").status_code == 200
        assert served.client.get("/readyz").status_code == 200
        break_off(held.pop())
        assert [status(each) for each in held] == [408] * len(held)
        whole, form = f"token={ADMIN}", FORM.replace("127.0.0.1", f"127.0.0.1:{served.port}")
        body = f"POST /sign-in HTTP/1.1\n{form}Content-Length: {len(whole)}\n\n{whole}"
        assert status(stack.enter_context(served.send(body))) == 303
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def until_held(served: Listening, count: int) -> None:
    """Wait until so many requests without a token are being answered."""
    for _ in range(PATIENCE_SECONDS * 20):
        if served.server.service.open_lane.held >= count:
            return
        select.select([], [], [], 0.05)
    raise AssertionError(f"{served.server.service.open_lane.held} of {count} are being answered")
