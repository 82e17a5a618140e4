"""Folders and files that one process at a time may use (flock)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from planner.errors import StorageError
from planner.system.files import storage_errors

LOCK_NAME = ".neuroflux.lock"
"""The file in a folder that its lock is held on. It stays when the lock goes."""


class FolderLock:
    """An exclusive lock (flock) on a folder; the kernel releases it when the last process that holds it ends."""

    def __init__(self, folder: Path, fd: int) -> None:
        self.folder = folder
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor that holds the lock. A child that inherits it (`pass_fds`) holds the lock too.

        Then no new run starts in this folder while a child of a killed one could still write there.
        """
        return self._fd

    def release(self) -> None:
        """Give the lock back; doing it twice changes nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_folder(folder: Path | str) -> FolderLock:
    """Take the lock of an existing folder without waiting. Raises StorageError that names the process holding it."""
    folder = Path(folder)
    with storage_errors(folder):
        fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace")
            os.close(fd)
            owner = f"process {holder}" if holder else "another process"
            raise StorageError(
                f"{folder} is in use by {owner}: wait for it, stop it, or choose another folder"
            ) from None
        except OSError:
            os.close(fd)
            raise
    return FolderLock(folder, fd)


def lock_holder(folder: Path | str) -> int | None:
    """The id of the process that holds a folder's lock, from /proc/locks; None where nobody does. Changes nothing."""
    try:
        found = (Path(folder) / LOCK_NAME).stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 1234 fd:01:4567 0 EOF
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == wanted:
            return int(words[4])
    return None


@contextmanager
def waiting_lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock (flock) on a file for the `with` block; unlike `lock_folder` this waits for it.

    Args:
        path: the lock file, which is made where it is missing.
        waiting: called once where another process holds the lock, before the wait.

    Raises:
        StorageError: the file cannot be opened or locked.
    """
    with storage_errors(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with storage_errors(path):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
