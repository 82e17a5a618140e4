"""`neuroflux serve`: the service's process, and the worker's that it starts and keeps running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from api.app import create_app
from api.connections import Connection, Connections
from api.limits import UNREAD_SECONDS
from api.service import Service
from api.settings import ServiceSettings
from planner.errors import InputError

_LOG = logging.getLogger("neuroflux.api")

_STOP_SECONDS = 5
_RESTART_SECONDS = 2.0


class Server(uvicorn.Server):
    """uvicorn, which leaves signals to `serve`: there is a worker to be ended as well."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self.server_state = Connections()

    def end(self) -> None:
        """Take no more requests, and end event streams, which would not end by themselves."""
        self.should_exit = True
        self.service.changes.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def serve(settings: ServiceSettings, with_worker: bool, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `listening` is told the address. The database is up to date already.

    Raises InputError where the address cannot be bound.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    address = bind(settings)
    with address:
        server = make_server(settings)
        host, port = address.getsockname()[:2]
        listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        asyncio.run(_serve(server, address, settings, with_worker))


def make_server(settings: ServiceSettings) -> Server:
    """The server, which is to be given a listening socket."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        root_path=settings.root_path,
        http=Connection,
        ws="none",
        lifespan="on",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    return Server(config, app.state.service)


def bind(settings: ServiceSettings) -> socket.socket:
    """The listening socket. Raises InputError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        address = socket.create_server((settings.host.strip("[]"), settings.port), family=family, backlog=1024)
    except OSError as error:
        raise InputError(f"--host {settings.host} --port {settings.port}: cannot be bound ({error.strerror})") from None
    # Connections inherit it. Without it an answer's body would wait until the client confirms its head: 40 ms.
    address.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel ends connections whose client reads nothing, or has vanished.
    address.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_SECONDS * 1000))
    return address


async def _serve(server: Server, address: socket.socket, settings: ServiceSettings, with_worker: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end)
    worker = asyncio.create_task(_keep_worker(server, settings)) if with_worker else None
    await server.serve(sockets=[address])
    if worker is not None:
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker


async def _keep_worker(server: Server, settings: ServiceSettings) -> None:
    """A worker's process, and another one when it ends."""
    while not server.started:  # the first answer comes before everything else
        await asyncio.sleep(0.05)
    setup = {"database": settings.database, "parent_pid": os.getpid()}
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api.jobs.worker", stdin=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdin is not None
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps(setup).encode() + b"\n")
                await process.stdin.drain()
            code = await process.wait()
            _LOG.warning("the worker ended (exit %d); another one is started", code)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.sleep(_RESTART_SECONDS)
