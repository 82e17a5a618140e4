"""Devices: enrolled ones, and the machine whose worker measures for this service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, select, update

from api.store import marks
from api.store.content import Page, page_of, timestamp, to_bytes
from api.store.database import Database, now_ms
from api.store.tables import devices
from planner.schema.common import Machine

SERVER = "server"
"""The id of the machine that measures for this service."""


@dataclass(frozen=True)
class DeviceKey:
    """What planning needs to know of a device."""

    id: str
    """Its id."""
    name: str
    """What a person calls it."""
    fingerprint: str
    """sha256 of the facts that decide costs."""

    @property
    def is_server(self) -> bool:
        """Whether this service's own worker can measure on it."""
        return self.id == SERVER


def add(
    connection: Any, identity: str, kind: Literal["device", "server"], name: str, fingerprint: str, machine: Machine
) -> None:
    """Keep a device, within the caller's transaction."""
    row = {"id": identity, "kind": kind, "name": name.encode(), "fingerprint": fingerprint}
    connection.execute(devices.insert().values(**row, machine=to_bytes(machine), created_ms=now_ms()))


def renew(connection: Any, identity: str, name: str, fingerprint: str, machine: Machine) -> None:
    """A device is here again, within the caller's transaction."""
    values = {"name": name.encode(), "fingerprint": fingerprint, "machine": to_bytes(machine), "revoked_ms": None}
    connection.execute(update(devices).where(devices.c.id == identity).values(**values))


def set_server(database: Database, name: str, fingerprint: str, machine: Machine) -> None:
    """Say what the machine is that measures for this service."""
    values = {"name": name.encode(), "fingerprint": fingerprint, "machine": to_bytes(machine)}
    with database.write() as connection:
        if not connection.execute(update(devices).where(devices.c.id == SERVER).values(**values)).rowcount:
            fresh = database.insert(devices).values(id=SERVER, kind="server", **values, created_ms=now_ms())
            connection.execute(fresh.on_conflict_do_nothing(index_elements=["id"]))


def set_seen(database: Database, identity: str) -> None:
    """Say that a device was heard of just now."""
    with database.write() as connection:
        connection.execute(update(devices).where(devices.c.id == identity).values(seen_ms=now_ms()))


def key_of(database: Database, identity: str) -> DeviceKey | None:
    """A device that is not revoked."""
    statement = select(devices.c.id, devices.c.name, devices.c.fingerprint)
    with database.read() as connection:
        row = connection.execute(statement.where(devices.c.id == identity, devices.c.revoked_ms.is_(None))).first()
    return None if row is None else DeviceKey(row.id, row.name.decode(), row.fingerprint)


def page(database: Database, before: int | None, limit: int, conditions: tuple[ColumnElement[bool], ...] = ()) -> Page:
    """Devices, newest first."""
    statement = select(devices).where(*conditions)
    return page_of(database, statement, devices.c.number, before, limit, lambda connection, row: _item(row))


def one(database: Database, identity: str) -> dict[str, Any] | None:
    """A device, revoked ones included."""
    found = page(database, None, 1, (devices.c.id == identity,)).items
    return found[0] if found else None


def _item(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "name": row.name.decode(),
        "fingerprint": row.fingerprint,
        "machine": json.loads(row.machine),
        "created_at": timestamp(row.created_ms),
        "revoked_at": timestamp(row.revoked_ms),
        "last_seen_at": timestamp(row.seen_ms),
        **marks.marks_of(row),
    }
