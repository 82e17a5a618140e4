"""`Idempotency-Key`: a POST that is sent again, because its answer was lost, creates nothing twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from sqlalchemy import select, update

from api.limits import MAX_KEY_LENGTH
from api.problems import Problem, invalid
from api.store.database import Database, now_ms
from api.store.tables import idempotency


@dataclass(frozen=True)
class Once:
    """What a key stands for: one request of one client to one route."""

    key: str
    """sha256 of client, route and key."""
    request_hash: str
    """sha256 of the body."""

    @classmethod
    def of(cls, key: str | None, client: str, route: str, body: bytes) -> Once | None:
        """None where no key was sent. Raises Problem (422) for one that is too long."""
        if key is None:
            return None
        if not 1 <= len(key) <= MAX_KEY_LENGTH:
            raise invalid("header.Idempotency-Key", f"1 to {MAX_KEY_LENGTH} characters are needed", MAX_KEY_LENGTH)
        name = "\n".join((client, route, key)).encode()
        return cls(hashlib.sha256(name).hexdigest(), hashlib.sha256(body).hexdigest())


def claim(connection: Any, database: Database, once: Once | None, resource_id: str) -> str | None:
    """Within a transaction: None where this request is the first, else the id of what the first one created.

    Raises Problem (422) where the key was sent with another body.
    """
    if once is None:
        return None
    row = {"key": once.key, "request_hash": once.request_hash, "resource_id": resource_id, "created_ms": now_ms()}
    if database.insert_new(connection, idempotency, "key", row):
        return None
    existing = connection.execute(select(idempotency).where(idempotency.c.key == once.key)).one()
    if existing.request_hash != once.request_hash:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "this key came with another body before; take a new key for a new request",
            field="header.Idempotency-Key",
        )
    return str(existing.resource_id)


def point_to(connection: Any, once: Once, resource_id: str) -> None:
    """Let a key that was just claimed stand for another resource."""
    chosen = idempotency.c.key == once.key
    connection.execute(update(idempotency).where(chosen).values(resource_id=resource_id))
