"""A server of this process's own behind a real socket, and what clients do to it that no client library does."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from api.server import Server, bind, make_server
from api.settings import ServiceSettings
from api.store.tokens import set_admin
from tests.unit.api.service import ADMIN, bearer

PATIENCE_SECONDS = 60


class Listening:
    """A server that runs in a thread."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, headers=bearer(ADMIN), timeout=PATIENCE_SECONDS, trust_env=False)

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection from one of this machine's own addresses."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS, (source, 0))

    def send(self, text: str, source: str = "127.0.0.1") -> socket.socket:
        """A connection on which this was sent; `\\n` ends a line."""
        found = self.connect(source)
        found.sendall(text.replace("\n", "\r\n").encode())
        return found

    def head(self, method: str, path: str, *headers: str) -> str:
        """The head of a request that the admin's token is in."""
        usual = (f"Host: 127.0.0.1:{self.port}", f"Authorization: Bearer {ADMIN}")
        return "\n".join((f"{method} {path} HTTP/1.1", *usual, *headers, "", ""))


@contextmanager
def listening(url: str, folder: Path, **others: Any) -> Iterator[Listening]:
    """A service that asks for tokens, on the database `url`; `others` are settings."""
    settings = ServiceSettings(folder, url, port=0, authentication=True, solver_workers=1, **others)
    server = make_server(settings)
    set_admin(server.service.database, ADMIN)
    with bind(settings) as address:
        port = address.getsockname()[1]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[address])))
        thread.start()
        found = Listening(server, port)
        try:
            with closing(found.client):
                yield found
        finally:
            server.end()
            thread.join()


def status(connection: socket.socket) -> int:
    """The status of the answer that comes."""
    return int(connection.makefile("rb").readline().split()[1])


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def break_off(connection: socket.socket) -> None:
    """End it as a client does that is killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
