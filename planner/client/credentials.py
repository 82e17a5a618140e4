"""Which services know this device, by which token: servers.json in the user's configuration, private to them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from planner.errors import InputError
from planner.schema.codec import read_document, to_json
from planner.system.files import make_folder, write_atomically

_PRIVATE = 0o077


@dataclass(frozen=True)
class KnownService:
    """A service that this device has enrolled with."""

    url: str
    """Its address."""
    device_id: str
    """What it calls this device."""
    token: str
    """What this device authenticates with."""


@dataclass(frozen=True)
class KnownServices:
    """All of them."""

    schema: Literal["servers/1"]
    services: tuple[KnownService, ...]
    """One for each address."""


def default_file() -> Path:
    """Under $XDG_CONFIG_HOME, or ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "neuroflux" / "servers.json"


def service_address(url: str) -> str:
    """The service's address inside a URL: `http://host:8000`, with the path of a proxy. Raises InputError."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise InputError(f"{url[:200]!r} is not the address of a service, for instance http://bench.local:8000")
    root = parts.path.partition("/v1/")[0].rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{root}"


def token_for(url: str, file: Path | None = None) -> str | None:
    """This device's token for the service; None where it has none, as with a service on this machine.

    Raises InputError where others may read the file.
    """
    path = file or default_file()
    address = service_address(url)
    found = (known.token for known in _read(path).services if known.url == address)
    return next(found, None)


def token_given(url: str, token_file: Path | None) -> str | None:
    """The token in the file that somebody names, which must be theirs alone; where none is named, `token_for`.

    Raises InputError.
    """
    return token_for(url) if token_file is None else _token_in(token_file)


def _token_in(file: Path) -> str:
    _check_private(file)
    try:
        token = file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{file}: does not hold a token, which is one line of letters, digits and signs")
    return token


def remember(known: KnownService, file: Path | None = None) -> Path:
    """Keep a service's token, in place of an earlier one, and say where. Raises StorageError."""
    path = file or default_file()
    others = tuple(other for other in _read(path).services if other.url != known.url)
    make_folder(path.parent, 0o700)
    before = os.umask(_PRIVATE)
    try:
        write_atomically(path, to_json(replace(_EMPTY, services=(*others, known))))
    finally:
        os.umask(before)
    return path


_EMPTY = KnownServices("servers/1", ())


def _read(path: Path) -> KnownServices:
    if not path.exists():
        return _EMPTY
    _check_private(path)
    return read_document(path, KnownServices)


def _check_private(path: Path) -> None:
    if path.exists() and path.stat().st_mode & _PRIVATE:
        raise InputError(f"{path}: holds tokens, but others may read it; run `chmod 600` on it")
