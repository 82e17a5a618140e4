"""Copies of an SQLite database: made while a service writes to it, and put back where none does."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from api.store.migrate import HEAD, known_revisions
from planner.errors import InputError, RunError
from planner.system.files import check_target, make_folder, storage_errors, sync_folder

_PAGES_AT_ONCE = 4096
"""Pages copied before writers get a turn."""

_FIRST_BYTES = b"SQLite format 3\0"


def back_up(url: str, target: Path) -> int:
    """Write one consistent copy of the database to `target`, for this user alone; its size in bytes.

    Raises InputError where the database is no SQLite, or `target` is there already.
    """
    source = _file_of(url)
    if not source.is_file():
        raise InputError(f"{source}: there is no database to copy")
    if target.exists():
        raise InputError(f"{target}: is there already; name a new file")
    check_target(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with storage_errors(target):
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with _opened(source, "ro") as here, _opened(partial, "rw") as there:
                here.backup(there, pages=_PAGES_AT_ONCE)
                there.execute("PRAGMA journal_mode=DELETE")  # one file, without another beside it
        _check(partial)
        _flush(partial)
        with storage_errors(target):
            partial.rename(target)
        sync_folder(target.parent)
        return target.stat().st_size
    except sqlite3.Error as error:
        raise RunError(f"{source}: could not be copied ({error})") from None
    finally:
        partial.unlink(missing_ok=True)


def restore(url: str, source: Path) -> Path | None:
    """Put a copy in the database's place; where what was there lies now, if there was something.

    Raises InputError where `source` is no database of a service, or a service uses the one that is there.
    """
    target = _file_of(url)
    _check(source)
    make_folder(target.parent, 0o700)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.partial")
    kept = None
    try:
        with storage_errors(target):
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with _opened(source, "ro") as here, _opened(fresh, "rw") as there:
            here.backup(there)
        _flush(fresh)
        if target.exists():
            _leave_wal(target)
            kept = target.with_name(f"{target.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            with storage_errors(kept):
                kept.hardlink_to(target)
                for rest in ("-wal", "-shm"):  # of a damaged one; it would be taken for the fresh one's
                    if (beside := target.with_name(target.name + rest)).exists():
                        beside.rename(kept.with_name(kept.name + rest))
        with storage_errors(target):
            fresh.rename(target)
        sync_folder(target.parent)
    except sqlite3.Error as error:
        raise RunError(f"{source}: could not be copied ({error})") from None
    finally:
        fresh.unlink(missing_ok=True)
    return kept


def _file_of(url: str) -> Path:
    if not url.startswith("sqlite"):
        raise InputError("the database is PostgreSQL: copy it with pg_dump, and put it back with pg_restore")
    return Path(make_url(url).database or "")


@contextmanager
def _opened(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=20, isolation_level=None)
    with contextlib.closing(connection):
        yield connection


def _check(file: Path) -> None:
    """Raise InputError where a file is no whole database of this release or an earlier one."""
    with storage_errors(file), file.open("rb") as opened:
        if opened.read(len(_FIRST_BYTES)) != _FIRST_BYTES:
            raise InputError(f"{file}: is no SQLite database; a file that `neuroflux service backup` wrote is needed")
    try:
        with _opened(file, "ro") as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise InputError(f"{file}: is damaged ({found})")
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise InputError(f"{file}: is no database of a service, or damaged ({error})") from None
    if revision not in known_revisions():
        raise InputError(f"{file}: is of a newer release (its schema is {revision}, the newest known here is {HEAD})")


def _leave_wal(file: Path) -> None:
    """Bring everything into the one file. SQLite does so only where nobody else has it open."""
    try:
        with _opened(file, "rw") as connection:
            connection.execute("PRAGMA busy_timeout=500")
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise InputError(f"{file}: a service uses this database; stop it first") from None
        raise
    except sqlite3.DatabaseError:
        return  # damaged: that is why it is replaced


def _flush(file: Path) -> None:
    with storage_errors(file), file.open("rb") as opened:
        os.fsync(opened.fileno())
