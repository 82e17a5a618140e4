"""Another program is told how runs are: signed, again where it failed, and nobody else is."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from api.store.database import Database, now_ms
from api.store.tables import runs
from api.webhook import Webhook, WebhookSettings
from planner.errors import InputError
from tests.unit.api.service import with_run

SECRET = "nfx_a-secret-of-these-tests"


class Receiver(ThreadingHTTPServer):
    """The other side: keeps what comes, and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 204
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?a=b"

    def states(self) -> list[str]:
        return [json.loads(body)["run"]["state"] for _, body in self.got]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append(({**dict(self.headers), "path": self.path}, body))
        self.send_response(server.status)
        self.send_header("Location", server.url + "&redirected")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_every_state_is_told_once_and_signed(client: TestClient, database_url: str, receiver: Receiver) -> None:
    database = Database(database_url)
    hook = Webhook(WebhookSettings(receiver.url, SECRET), database)
    run, plan = with_run(client)
    hook.step()
    hook.step()
    client.put(f"/v1/runs/{run}/state", json={"state": "failed", "reason": "block 1 does not fit"})
    hook.step()
    client.put(f"/v1/runs/{run}/state", json={"state": "running"})
    with database.write() as connection:
        connection.execute(update(runs).values(heard_ms=now_ms() - 3600 * 1000))  # silent
    hook.step()
    assert receiver.states() == ["queued", "failed", "lost"]
    headers, body = receiver.got[1]
    told = json.loads(body)["run"]
    assert (told["id"], told["plan_id"], told["reason"], told["before"]) == (
        *(run, plan["id"], "block 1 does not fit", "queued"),
    )
    assert headers["path"] == "/hook?a=b"
    at, found = (part.partition("=")[2] for part in headers["Neuroflux-Signature"].split(","))
    assert hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest() == found
    assert SECRET not in str(receiver.got)
    assert hook.delivered == 3
    database.close()


@pytest.mark.parametrize("status", [500, 404, 302])
def test_what_is_not_taken_is_told_again_later_as_it_is_then(
    local: TestClient, sqlite_url: str, receiver: Receiver, status: int
) -> None:
    database = Database(sqlite_url)
    hook = Webhook(WebhookSettings(receiver.url, SECRET), database)
    run, _ = with_run(local)
    receiver.status = status
    hook.step()
    assert (hook.failed, hook._wait, receiver.states()) == (1, 10.0, ["queued"])  # no redirect was followed
    hook.step()  # not before its time
    hook._not_before = 0.0
    hook.step()
    assert (hook.failed, hook._wait) == (2, 20.0)
    local.put(f"/v1/runs/{run}/state", json={"state": "failed"})
    receiver.status, hook._not_before = 200, 0.0
    hook.step()
    assert receiver.states() == ["queued", "queued", "failed"]
    for _ in range(20):
        receiver.status, hook._not_before = 500, 0.0
        with database.write() as connection:
            connection.execute(update(runs).values(told_state=None))
        hook.step()
    assert hook._wait == 300.0
    with database.write() as connection:
        connection.execute(update(runs).values(heard_ms=now_ms() - 25 * 3600 * 1000))
    before, hook._not_before = len(receiver.got), 0.0
    hook.step()
    assert len(receiver.got) == before  # given up
    database.close()


def test_nobody_listening_is_a_failure_and_no_error(local: TestClient, sqlite_url: str, receiver: Receiver) -> None:
    url = receiver.url
    receiver.shutdown()
    receiver.server_close()
    database = Database(sqlite_url)
    with_run(local)
    hook = Webhook(WebhookSettings(url, SECRET), database)
    hook.step()
    assert hook.failed == 1
    database.close()


@pytest.mark.parametrize(
    "url",
    ["ftp://h/x", "h/x", "https://", "http://u:p@h/", "http://h:0/", "http://h:x/", "http://h/\nX: y", "file:///x"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="--webhook"):
        WebhookSettings(url, SECRET)
    assert SECRET not in repr(WebhookSettings("https://h/x", SECRET))
