"""The address that the service listens on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from api.server import bind
from api.settings import ServiceSettings
from planner.client.credentials import service_address
from planner.errors import InputError
from tests.unit.api.service import ADMIN
from tests.unit.api.sockets import listening


def test_connections_send_what_they_have_at_once(tmp_path: Path) -> None:
    with (
        bind(ServiceSettings(tmp_path, "sqlite:///x", port=0)) as address,
        socket.create_connection(address.getsockname()),
        address.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("trusted", [("127.0.0.0/8",), ("10.0.0.1",)])
def test_a_proxy_that_is_trusted_says_how_it_is_asked(
    sqlite_url: str, tmp_path: Path, trusted: tuple[str, ...]
) -> None:
    with listening(sqlite_url, tmp_path, trusted_proxies=trusted, root_path="/nf") as served:
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1", "Origin": "https://127.0.0.1"}
        form = {"Host": "127.0.0.1", **forwarded, "Content-Type": "application/x-www-form-urlencoded"}
        answer = served.client.post("/", content=f"token={ADMIN}", headers=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/nf/")
        assert ("; secure" in answer.headers["set-cookie"].lower()) == (trusted == ("127.0.0.0/8",))
        served.client.cookies.clear()
        assert served.client.get("/healthz").status_code == 200
        made = served.client.post("/v1/models", json={"schema": "model/1", "zoo": "cnn6"})
        assert made.headers["location"].startswith("/nf/v1/models/")
        page = served.client.get("/", headers={"Accept": "text/html", "Authorization": ""})
        assert 'href="/nf/pages/sign_in.css"' in page.text


def test_what_a_proxy_may_be_and_where_it_shows_a_service(tmp_path: Path) -> None:
    for wrong in ({"trusted_proxies": ("proxy.local",)}, {"root_path": "nf"}, {"root_path": "/nf/"}):
        with pytest.raises(InputError):
            ServiceSettings(tmp_path, "sqlite:///x", **wrong)
    for url in ("https://Host/nf", "https://host/nf/", "https://host/nf/v1/plans/abc"):
        assert service_address(url) == "https://host/nf"
    assert service_address("http://host:8000/v1/plans/abc") == "http://host:8000"
