"""Attempts to lock the service out without a token: `python -m benchmarks.service.lockouts [SECONDS]` (20 each).

Each goes on in threads of this process while a request without and one with the admin's token are sent again and again,
each on a connection of its own. What must not happen: `/healthz` above 1 s, a request with a token that is not served.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.integration.api.processes import Server, serving

HEADS = 1100
FORMS = 400
MOST_HEALTH_SECONDS = 1.0

_FORM = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 4000\r\n"


def _connect(port: int, text: str) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), 5)
    found.sendall(text.encode())
    return found


def _trickling(port: int, count: int, head: str, stop: threading.Event) -> None:
    """Hold `count` connections, each of which sends a byte a second; one that is ended is opened again."""
    held: list[socket.socket | None] = [None] * count
    while not stop.is_set():
        for index, connection in enumerate(held):
            if stop.is_set():
                break
            try:
                if connection is None:
                    held[index] = _connect(port, head)
                else:
                    connection.sendall(b"x")
            except OSError:
                held[index] = None
        stop.wait(1)
    for connection in held:
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()


@contextmanager
def _going_on(port: int, count: int, head: str) -> Iterator[None]:
    stop = threading.Event()
    attacker = threading.Thread(target=_trickling, args=(port, count, head, stop))
    attacker.start()
    try:
        yield
    finally:
        stop.set()
        attacker.join()


def measured(server: Server, admin: dict[str, str], seconds: float) -> tuple[list[float], list[float], int]:
    """Seconds of each `/healthz`, and of each request with a token; how many of these were not served."""
    health, served, refused = [], [], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path, found in (("/healthz", health), ("/v1/runs?limit=1", served)):
            began = time.perf_counter()
            try:
                answer = httpx.get(server.url + path, headers=admin, timeout=30, trust_env=False)
                refused += answer.status_code != 200
            except httpx.TransportError:
                refused += 1
            found.append(time.perf_counter() - began)
        time.sleep(0.05)
    return health, served, refused


def main() -> int:
    """Attack, and say what came of it."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    lines = [
        "| attempt | `/healthz` p50 / largest ms | with a token p50 / largest ms | not served |",
        "| --- | ---: | ---: | ---: |",
    ]
    is_good = True
    with tempfile.TemporaryDirectory() as name:
        token = Path(name) / "admin.token"
        with serving(Path(name) / "data", "--only", "api", "--admin-token-file", str(token)) as server:
            admin = {"Authorization": f"Bearer {token.read_text().strip()}"}
            port = int(server.url.rpartition(":")[2])
            host = f"Host: 127.0.0.1:{port}\r\nOrigin: {server.url}\r\n"
            attempts: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
                "none": contextlib.nullcontext,
                f"{HEADS} connections that trickle a head": lambda: _going_on(port, HEADS, "GET / HTTP/1.1\r\nX: "),
                f"{FORMS} slow forms to /sign-in": lambda: _going_on(
                    port, FORMS, f"POST /sign-in HTTP/1.1\r\n{host}{_FORM}\r\n"
                ),
            }
            for words, attempt in attempts.items():
                with attempt():
                    time.sleep(2)
                    health, served, refused = measured(server, admin, seconds)
                shown = (f"{statistics.median(each) * 1000:.0f} / {max(each) * 1000:.0f}" for each in (health, served))
                lines.append(f"| {words} | {' | '.join(shown)} | {refused} of {len(health) + len(served)} |")
                is_good = is_good and max(health) <= MOST_HEALTH_SECONDS and not refused
            if "Traceback" in server.log():
                is_good = False
                lines.append("\nthe log holds a traceback")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
