"""Profiles: whose they are, and which of them answers for a device.

Every device that has sent a profile is an owner of it. What another device has sent never takes the place of what a
device measured itself, nor of what this service measured, ships, or had from its admin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, or_, select

from api.store import marks
from api.store.content import Page, encoded, page_of, timestamp
from api.store.database import Database, now_ms
from api.store.tables import devices, profile_owners, profiles
from planner.heads.base import HeadChoice

SERVICE = "service"
"""The owner of what this service measured, ships, or had from its admin."""


@dataclass(frozen=True)
class ProfileKey:
    """What a profile is looked for by. Field names are the statement's parameters."""

    device_id: str
    """A device that is not revoked."""
    model_id: str
    """The model."""
    optimizer: str
    """The optimizer's kind."""
    state_copies: int
    """Copies of the parameters that it keeps."""
    dtype: str
    """What units compute in."""
    batch: int
    """The batch that is to be covered."""
    heads: str = "%"
    """A pattern of the kinds of head that it has to have measured (`measured_pattern`)."""


def measured_pattern(kind: HeadChoice | None) -> str:
    """The pattern in `ProfileKey.heads` of profiles that measured a kind of head; none or `auto`: of any."""
    return "%" if kind in (None, "auto") else f"% {kind} %"


_IS_OWN = profile_owners.c.owner == devices.c.id
_IS_OURS = profile_owners.c.owner == SERVICE
_OF_OTHERS = 2

_RANK = case((_IS_OWN, 0), (_IS_OURS, 1), else_=_OF_OTHERS)

_COVERING = (  # built once: building it takes longer than running it
    select(profiles.c.id)
    .join(devices, devices.c.fingerprint == profiles.c.fingerprint)
    .join(profile_owners, profile_owners.c.profile_id == profiles.c.id)
    .where(
        devices.c.id == bindparam("device_id"),
        devices.c.revoked_ms.is_(None),
        profiles.c.model_id == bindparam("model_id"),
        profiles.c.optimizer == bindparam("optimizer"),
        profiles.c.state_copies == bindparam("state_copies"),
        profiles.c.dtype == bindparam("dtype"),
        profiles.c.batch >= bindparam("batch"),
        profiles.c.heads.like(bindparam("heads")),
        # The machine that measures for this service believes itself alone.
        or_(devices.c.kind == "device", _IS_OURS),
    )
    # Of others the first one stays: whoever comes later cannot change what is planned from.
    .order_by(_RANK, profiles.c.batch, case((_RANK == _OF_OTHERS, profiles.c.number), else_=-profiles.c.number))
    .limit(1)
)


def find(database: Database, subject: ProfileKey) -> str | None:
    """The id of the profile that answers for a device: its own before the service's, and that before those that other
    devices of the same fingerprint sent; among these the smallest batch that covers the subject's, then the newest."""
    with database.read() as connection:
        return connection.execute(_COVERING, vars(subject)).scalar()


def exists(database: Database, identity: str) -> bool:
    """Whether there is a profile with this id."""
    with database.read() as connection:
        return connection.execute(select(profiles.c.id).where(profiles.c.id == identity)).first() is not None


def put(database: Database, row: Mapping[str, Any], owner: str = SERVICE) -> bool:
    """Keep a profile, and that `owner` has sent it; tell whether it is new."""
    with database.read() as connection:
        known = select(profile_owners.c.owner).where(*_owned(row["id"], owner))
        if connection.execute(known).first() is not None:
            return False
    now = now_ms()
    with database.write() as connection:
        is_new = database.insert_new(connection, profiles, "id", {**encoded(row), "created_ms": now})
        owned = {"profile_id": row["id"], "owner": owner, "created_ms": now}
        fresh = database.insert(profile_owners).values(**owned)
        connection.execute(fresh.on_conflict_do_nothing(index_elements=["profile_id", "owner"]))
    return is_new


def _owned(identity: str, owner: str | None) -> tuple[Any, ...]:
    owned = profile_owners.c.profile_id == identity
    return (owned,) if owner is None else (owned, profile_owners.c.owner == owner)


def remove(database: Database, identity: str, owner: str | None) -> bool:
    """Take away what `owner` has sent, or, where that is None, the profile whoever has sent it; False where there is
    nothing to take away. A profile goes with its last owner; plans that were made from it stay."""
    with database.write() as connection:
        return take_away(connection, identity, owner)


def take_away(connection: Connection, identity: str, owner: str | None) -> bool:
    """`remove`, within the caller's transaction."""
    found = connection.execute(delete(profile_owners).where(*_owned(identity, owner))).rowcount
    left = connection.execute(select(profile_owners.c.owner).where(*_owned(identity, None))).first()
    if found and left is None:
        connection.execute(delete(profiles).where(profiles.c.id == identity))
    return bool(found)


def page(database: Database, before: int | None, limit: int, conditions: tuple[Any, ...] = ()) -> Page:
    """Profiles in short, newest first."""
    columns = (profiles.c.number, profiles.c.id, profiles.c.summary, profiles.c.created_ms, *marks.columns(profiles))
    return page_of(database, select(*columns).where(*conditions), profiles.c.number, before, limit, _item)


def _item(connection: Connection, row: Any) -> dict[str, Any]:
    found = (
        select(profile_owners.c.owner, profile_owners.c.created_ms, devices.c.name)
        .outerjoin(devices, devices.c.id == profile_owners.c.owner)
        .where(profile_owners.c.profile_id == row.id)
        .order_by(profile_owners.c.created_ms)
        .limit(_MOST_OWNERS)
    )
    owners = [
        {
            "device_id": None if each.owner == SERVICE else each.owner,
            "name": None if each.name is None else each.name.decode(),
            "created_at": timestamp(each.created_ms),
        }
        for each in connection.execute(found)
    ]
    return {
        "id": row.id,
        **json.loads(row.summary),
        "owners": owners,
        "created_at": timestamp(row.created_ms),
        **marks.marks_of(row),
    }


_MOST_OWNERS = 20
"""Listed of one profile."""
