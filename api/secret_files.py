"""Secrets in files that only this user reads, made where there are none."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from planner.errors import InputError, StorageError
from planner.system.files import make_folder

_LEAST = 32


def read_or_make(path: Path, fresh: str) -> str:
    """What the file holds; `fresh` is written where there is none yet.

    Raises InputError where others may read it, or it holds too little.
    """
    try:
        make_folder(path.parent, 0o700)
        if not path.exists():
            _make(path, fresh)
        is_private = not path.stat().st_mode & 0o077
        found = path.read_text().strip()
    except StorageError as error:
        raise InputError(f"{path}: cannot be read or made ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read or made ({error.strerror})") from None
    if not is_private:
        raise InputError(f"{path}: others may read it; run `chmod 600` on it")
    if len(found) < _LEAST:
        raise InputError(f"{path}: at least {_LEAST} characters are needed")
    return found


def _make(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    # Whole or not at all, and never over one that another process has just made.
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(partial)
    partial.unlink()
