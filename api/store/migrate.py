"""Bring a database to the newest schema: `python -m api.store.migrate URL`, a process of its own.

Alembic takes 15 MiB that the service needs no more once its tables are there.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from api.store.database import Database, without_password
from planner.errors import InputError, RunError
from planner.system.ends import End
from planner.system.files import make_folder
from planner.system.locks import waiting_lock

HEAD = "0008"
"""The newest revision under `migrations/versions`."""

_LOCK = 0x6E6575726F
"""PostgreSQL's advisory lock, so that one process migrates and the others wait."""


def migrate(url: str) -> None:
    """Migrate in a child process where it is needed. Raises InputError, RunError."""
    _prepare_file(url)
    try:
        found_revision = _revision(url)
        if found_revision == HEAD:
            return
        if found_revision is not None and found_revision not in known_revisions():
            raise InputError(
                f"{without_password(url)}: was made by a newer release (its schema is {found_revision}, the newest "
                f"known here is {HEAD}); install that release, or name another database with --db"
            )
    except SQLAlchemyError as error:
        raise RunError(f"{without_password(url)}: cannot be opened ({_first_line(error)})") from None
    found = subprocess.run(
        [sys.executable, "-m", "api.store.migrate"], input=url.encode(), capture_output=True, check=False
    )
    if found.returncode:
        lines = found.stderr.decode(errors="replace").strip().splitlines() or [
            f"its process was {End(found.returncode).explained}"
        ]
        raise RunError(
            f"{without_password(url)}: the database could not be brought to this release ({lines[-1][:300]})"
        )


def check_current(url: str) -> None:
    """Raise InputError where there is no database of this release: administration changes no schema, since a service
    of another release may be at it."""
    if url.startswith("sqlite") and not Path(make_url(url).database or "").is_file():
        raise InputError(f"{without_password(url)}: there is no database; --data-dir or --db says where it is")
    try:
        found = _revision(url)
    except SQLAlchemyError as error:
        raise RunError(f"{without_password(url)}: cannot be opened ({_first_line(error)})") from None
    if found != HEAD:
        raise InputError(
            f"{without_password(url)}: is of another release (its schema is {found}, this one's {HEAD}); start the "
            "service of this release once, which brings it up to date"
        )


def known_revisions() -> set[str]:
    """Every schema up to this release's."""
    folder = Path(__file__).parent / "migrations" / "versions"
    return {path.name[1:5] for path in folder.glob("r[0-9]*.py")}


def _prepare_file(url: str) -> None:
    """Make SQLite's file, for nobody else to read; one that everybody may read was made by an earlier release.

    Raises InputError where it cannot be written.
    """
    if not url.startswith("sqlite"):
        return
    file = Path(make_url(url).database or "")
    try:
        make_folder(file.parent)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o007:
            file.chmod(mode & ~0o007)
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"{file}: the database cannot be written ({error.strerror}); its folder has to be writable too"
        ) from None


def _revision(url: str) -> str | None:
    if url.startswith("sqlite") and not Path(make_url(url).database or "").is_file():
        return None
    database = Database(url)
    try:
        with database.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    finally:
        database.close()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]


def upgrade(url: str) -> None:
    """Run the migrations here."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    database = Database(url)
    try:
        with database.engine.connect() as connection, _alone(database, connection):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        database.close()


@contextmanager
def _alone(database: Database, connection: Connection) -> Iterator[None]:
    if not database.is_sqlite:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        connection.commit()
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()
        return
    file = Path(make_url(database.url).database or "")
    make_folder(file.parent)
    with waiting_lock(file.with_name(file.name + ".migrating")):
        yield


if __name__ == "__main__":
    upgrade(sys.stdin.read())
