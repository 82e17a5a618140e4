"""The address that the service listens on."""

from __future__ import annotations

import socket
from pathlib import Path

from api.server import bind
from api.settings import ServiceSettings


def test_connections_send_what_they_have_at_once(tmp_path: Path) -> None:
    with (
        bind(ServiceSettings(tmp_path, "sqlite:///x", port=0)) as address,
        socket.create_connection(address.getsockname()),
        address.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
