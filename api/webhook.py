"""Tells another program how runs are: a POST for each state that a run has got.

Where to is said on the command line and nowhere else, so it is no way for a client of this service to reach what only
this service's machine reaches. Redirects are not followed, and what is answered is not kept. A run is told of until the
other side takes it (2xx), later and later, for a day; what changes meanwhile is told as it is then.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import and_, case, or_, select, update

from api.limits import SILENCE_SECONDS, WEBHOOK_GIVE_UP_SECONDS, WEBHOOK_MOST_WAIT_SECONDS, WEBHOOK_SECONDS
from api.store.content import timestamp
from api.store.database import Database, now_ms
from api.store.runs import OPEN, state_of
from api.store.tables import plans, runs
from planner.errors import InputError

_LOG = logging.getLogger("neuroflux.api")
_AT_ONCE = 100
_MOST_ANSWER = 65_536


@dataclass(frozen=True)
class WebhookSettings:
    """Where to, and by what the other side knows that it is us. Raises InputError."""

    url: str
    """`https://…` or `http://…`; any address, this machine's own and private ones included."""
    secret: str = field(repr=False)
    """Key of the signature."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good or parts.username is not None or not self.url.isascii() or not self.url.isprintable():
            raise InputError(
                f"--webhook {self.url[:200]!r}: is no address such as https://chat.example/hooks/neuroflux"
            )


class Webhook:
    """One service's. `step` is called again and again, by one thread."""

    def __init__(self, settings: WebhookSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._wait = 0.0
        self._not_before = 0.0
        self.delivered = 0
        self.failed = 0

    def step(self) -> None:
        """Tell what is due, unless the other side has just failed."""
        if time.monotonic() < self._not_before:
            return
        for run in untold(self._database):
            problem = self._post(run)
            if problem is not None:
                self.failed += 1
                self._wait = min(max(2 * self._wait, WEBHOOK_SECONDS), WEBHOOK_MOST_WAIT_SECONDS)
                self._not_before = time.monotonic() + self._wait
                _LOG.warning("the webhook failed (%s); it is tried again in %.0f s", problem, self._wait)
                return
            self.delivered += 1
            self._wait = 0.0
            set_told(self._database, run["id"], run["state"])

    def _post(self, run: dict[str, Any]) -> str | None:
        """Send one run's state; what went wrong."""
        body = json.dumps(
            {"type": "run.state", "sent_at": timestamp(now_ms()), "run": run}, ensure_ascii=False
        ).encode()
        parts = urlsplit(self._settings.url)
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=WEBHOOK_SECONDS, context=ssl.create_default_context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=WEBHOOK_SECONDS)
        )
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "neuroflux",
            "Neuroflux-Signature": signature(self._settings.secret, body, int(time.time())),
        }
        try:
            connection.request("POST", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, headers)
            answer = connection.getresponse()
            answer.read(_MOST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error!s:.200}"
        finally:
            connection.close()
        return None if 200 <= answer.status < 300 else f"status {answer.status}"


def signature(secret: str, body: bytes, at: int) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA-256 of `SECONDS.BODY`, so that neither can be changed, nor one sent again later."""
    found = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={found}"


def untold(database: Database) -> list[dict[str, Any]]:
    """Runs whose state was not told, those heard of longest ago first. Who was silent for a day is left out."""
    now = now_ms()
    is_lost = and_(runs.c.state.in_(OPEN), runs.c.heard_ms < now - round(1000 * SILENCE_SECONDS))
    state = case((is_lost, "lost"), else_=runs.c.state)
    names = (runs.c.id, runs.c.name, runs.c.plan_id, runs.c.device_id, runs.c.state, runs.c.reason, runs.c.heard_ms)
    chosen = (
        select(*names, runs.c.told_state, plans.c.summary)
        .join(plans, plans.c.id == runs.c.plan_id)
        .where(runs.c.heard_ms > now - 1000 * WEBHOOK_GIVE_UP_SECONDS)
        .where(or_(runs.c.told_state.is_(None), runs.c.told_state != state))
        .order_by(runs.c.heard_ms)
        .limit(_AT_ONCE)
    )
    with database.read() as connection:
        return [_told(row) for row in connection.execute(chosen)]


def _told(row: Any) -> dict[str, Any]:
    plan = json.loads(row.summary)
    return {
        "id": row.id,
        "name": row.name.decode(),
        "plan_id": row.plan_id,
        "device_id": row.device_id,
        "model": plan["model"],
        "budget": plan["budget"],
        **state_of(row),
        "before": row.told_state,
        "heard_at": timestamp(row.heard_ms),
    }


def set_told(database: Database, identity: str, state: str) -> None:
    """The other side has taken this state of a run."""
    with database.write() as connection:
        connection.execute(update(runs).where(runs.c.id == identity).values(told_state=state))
