"""How one service is set up."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from api.webhook import WebhookSettings
from planner.errors import InputError

DATABASE_FILE = "service.sqlite3"
"""The default database, inside the data folder."""


def default_data_folder() -> Path:
    """The user's own: under $XDG_DATA_HOME, or ~/.local/share."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "neuroflux"


@dataclass(frozen=True)
class ServiceSettings:
    """One service. Raises InputError where it would be open to others without authentication."""

    data_folder: Path
    """Holds the database (unless it is elsewhere), and tokens' files."""
    database: str
    """SQLAlchemy's URL of the database: `sqlite:///…` or `postgresql+psycopg://…`."""
    host: str = "127.0.0.1"
    """The address to bind to."""
    port: int = 8000
    """The port to bind to; 0 takes a free one."""
    authentication: bool = False
    """Whether every request but those for health needs a token."""
    host_names: tuple[str, ...] = ()
    """Names besides localhost under which this service may be addressed."""
    solver_workers: int = 2
    """Warm processes that solve."""
    root_path: str = ""
    """Where a proxy shows this service, which it asks without it: `/neuroflux`; empty: at its root."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""

    keep_seconds: float | None = None
    """Samples of runs that ended longer ago are thinned, after twice that dropped; none: never."""
    quota_bytes: int | None = None
    """Beyond this size of the database the oldest samples go; none: there is no end to it."""
    webhook: WebhookSettings | None = None
    """Whom states of runs are told; none: nobody."""

    def __post_init__(self) -> None:
        if self.quota_bytes is not None and not self.database.startswith("sqlite"):
            raise InputError("--quota: is for SQLite; what PostgreSQL may take is set where it runs")
        if not self.authentication and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host}: other machines could reach this service, so it needs authentication; add "
                "--admin-token-file FILE (made if it does not exist), or bind to 127.0.0.1"
            )
        if self.root_path and not re.fullmatch(r"(/[\w.~-]+)+", self.root_path, re.ASCII):
            raise InputError(f"--root-path {self.root_path}: is no path such as /neuroflux")
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise InputError(f"--trusted-proxy {proxy}: is neither an address nor a network (10.0.0.0/8)") from None

    @property
    def all_host_names(self) -> frozenset[str]:
        """Every name that a `Host` header may carry; addresses need no name."""
        return frozenset({"localhost", socket.gethostname().lower(), *(name.lower() for name in self.host_names)})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name counts as reachable unless it is localhost."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _check_user(rest: str) -> None:
    """Refuse signs that would end the password early, so that its rest was taken for a host. Raises InputError."""
    user, at, _ = rest.rpartition("@")
    if at and any(sign in user for sign in "@/#?[]"):
        raise InputError(
            "--db: in the user's name and password the signs @ / # ? [ ] are written %40 %2F %23 %3F %5B %5D"
        )


def database_url(given: str | None, data_folder: Path, password_file: str | None = None) -> str:
    """The database's URL: what was given, in SQLAlchemy's words, or the default file. A password that lies in a file
    may hold any sign. Raises InputError."""
    url = _database_url(given, data_folder)
    if password_file is None:
        return url
    try:
        password = Path(password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise InputError(f"NEUROFLUX_DB_PASSWORD_FILE: {password_file}: cannot be read ({error!s:.200})") from None
    if url.startswith("sqlite"):
        raise InputError("NEUROFLUX_DB_PASSWORD_FILE: is for PostgreSQL; the database is SQLite")
    return make_url(url).set(password=password).render_as_string(hide_password=False)


def _database_url(given: str | None, data_folder: Path) -> str:
    if given is None:
        return f"sqlite:///{data_folder / DATABASE_FILE}"
    if given.startswith("sqlite:///"):
        return given
    for prefix in ("postgresql+psycopg://", "postgresql://", "postgres://"):
        if given.startswith(prefix):
            rest = given.removeprefix(prefix)
            _check_user(rest)
            return "postgresql+psycopg://" + rest
    raise InputError("--db: is neither sqlite:///PATH nor postgresql://USER:PASSWORD@HOST/NAME")
