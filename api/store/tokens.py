"""Tokens: 256 random bits, kept as their sha256 alone. What is random needs no slow hash."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, or_, select, update

from api.store import runs
from api.store.content import Page, page_of, timestamp
from api.store.database import Database, now_ms
from api.store.tables import devices, tokens

Role = Literal["admin", "read", "metrics"]

Kind = Literal[Role, "device", "enrolment", "session"]

ROLES: tuple[Role, ...] = get_args(Role)
"""Kinds of named tokens, of people and programs."""

LOCAL_ID = "local"
"""In place of a token's id, where none is needed."""

PREFIX = "nfx_"
"""So that scanners for leaked secrets, and people, know one."""


@dataclass(frozen=True)
class Principal:
    """Who asks."""

    kind: Kind
    """What their token may do."""
    token_id: str
    """The token's own id; no secret."""
    device_id: str | None = None
    """The device it belongs to."""
    name: str = ""
    """What a named token is called, or the one that a session was begun with; empty: the admin of the token's file."""
    role: str | None = None
    """Of a session: the kind of the token that it was begun with."""


def new_id() -> str:
    """A random id."""
    return secrets.token_hex(16)


def new_token() -> str:
    """A random token."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def add(
    connection: Any,
    token: str,
    kind: Kind,
    device_id: str | None = None,
    seconds: int | None = None,
    name: str = "",
    by: Principal | None = None,
) -> str:
    """Keep a token's hash, within the caller's transaction, and return its id. `by` has begun a session."""
    identity, now = new_id(), now_ms()
    row = {
        "id": identity,
        "hash": token_hash(token),
        "kind": kind,
        "device_id": device_id,
        "created_ms": now,
        "expires_ms": None if seconds is None else now + seconds * 1000,
        "name": name.encode() or None,
        "role": None if by is None else by.kind,
        "parent_id": None if by is None else by.token_id,
    }
    connection.execute(tokens.insert().values(**row))
    return identity


def find(database: Database, token: str) -> Principal | None:
    """Who a token stands for; nobody where it is unknown, expired, used up or revoked."""
    columns = (tokens.c.id, tokens.c.kind, tokens.c.device_id, tokens.c.name, tokens.c.role)
    statement = select(*columns).where(tokens.c.hash == token_hash(token), *_valid())
    with database.read() as connection:
        row = connection.execute(statement).first()
    if row is None:
        return None
    return Principal(row.kind, row.id, row.device_id, (row.name or b"").decode(), row.role)


def device_of(database: Database, token: str) -> str | None:
    """Which device a token is or was of, good or not."""
    statement = select(tokens.c.device_id).where(tokens.c.hash == token_hash(token), tokens.c.kind == "device")
    with database.read() as connection:
        return connection.execute(statement).scalar()


def is_valid(database: Database, principal: Principal) -> bool:
    """Whether the token of somebody who was let in is still good. Who needed none is."""
    if principal.token_id == LOCAL_ID:
        return True
    with database.read() as connection:
        statement = select(tokens.c.id).where(tokens.c.id == principal.token_id, *_valid())
        return connection.execute(statement).first() is not None


def _valid() -> tuple[Any, ...]:
    return (
        tokens.c.revoked_ms.is_(None),
        tokens.c.used_ms.is_(None),
        or_(tokens.c.expires_ms.is_(None), tokens.c.expires_ms > now_ms()),
    )


def use_up(connection: Any, token_id: str) -> bool:
    """Spend a token that is good for one use; False where somebody else was faster."""
    spent = update(tokens).where(tokens.c.id == token_id, *_valid()).values(used_ms=now_ms())
    return bool(connection.execute(spent).rowcount)


def revoke(connection: Any, *, token_id: str | None = None, device_id: str | None = None) -> None:
    """Make a token, or all of a device's, worthless."""
    _revoke(connection, tokens.c.id == token_id if token_id is not None else tokens.c.device_id == device_id)


def _revoke(connection: Any, *chosen: ColumnElement[bool]) -> bool:
    good = update(tokens).where(*chosen, tokens.c.revoked_ms.is_(None))
    return bool(connection.execute(good.values(revoked_ms=now_ms())).rowcount)


def page(database: Database, kinds: tuple[Kind, ...], before: int | None, limit: int) -> Page:
    """Tokens of some kinds that are still good, newest first. Nothing that could be used is among what is shown."""
    statement = select(tokens).where(tokens.c.kind.in_(kinds), *_valid())
    return page_of(database, statement, tokens.c.number, before, limit, lambda connection, row: _item(row))


def _item(row: Any) -> dict[str, Any]:
    dates = {"created_at": timestamp(row.created_ms), "expires_at": timestamp(row.expires_ms)}
    found = {"id": row.id, **dates}
    if row.kind == "enrolment":
        return found
    return {
        **found,
        "name": None if row.name is None else row.name.decode(),
        "role": row.role or ("admin" if row.kind == "session" else row.kind),
    }


def end(database: Database, kinds: tuple[Kind, ...], token_id: str) -> bool:
    """Make a token of these kinds worthless, with sessions begun with it; False where there is none that is good."""
    with database.write() as connection:
        _revoke(connection, tokens.c.parent_id == token_id)
        return _revoke(connection, tokens.c.id == token_id, tokens.c.kind.in_(kinds), *_valid())


def add_named(database: Database, name: str, role: Role, seconds: int | None) -> dict[str, Any]:
    """Make a token for a person or a program; as it is shown this once."""
    token = new_token()
    with database.write() as connection:
        identity = add(connection, token, role, seconds=seconds, name=name)
        row = connection.execute(select(tokens).where(tokens.c.id == identity)).one()
    return {**_item(row), "token": token}


def revoke_device(database: Database, device_id: str) -> bool:
    """End a device's enrolment; False where there is none."""
    chosen = (devices.c.id == device_id, devices.c.kind == "device", devices.c.revoked_ms.is_(None))
    with database.write() as connection:
        found = connection.execute(update(devices).where(*chosen).values(revoked_ms=now_ms())).rowcount
        revoke(connection, device_id=device_id)
        runs.interrupt_runs_of(connection, device_id, "the device's tokens were revoked")
    return bool(found)


def set_admin(database: Database, token: str) -> None:
    """Make `token` the one of the admin's file. Where there was another, what it let in ends with it: sessions and
    enrolments. Tokens with names, and sessions begun with them, stay."""
    with database.write() as connection:
        known = select(tokens.c.id).where(tokens.c.hash == token_hash(token), tokens.c.kind == "admin")
        if connection.execute(known.where(tokens.c.revoked_ms.is_(None))).first():
            return
        of_file = select(tokens.c.id).where(tokens.c.kind == "admin", tokens.c.name.is_(None))
        ours = or_(tokens.c.parent_id.is_(None), tokens.c.parent_id.in_(of_file))
        _revoke(connection, tokens.c.kind == "session", ours)
        _revoke(connection, tokens.c.kind == "admin", tokens.c.name.is_(None))
        _revoke(connection, tokens.c.kind == "enrolment")
        add(connection, token, "admin")
