"""Files that are there whole or not at all, and folders that last."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from planner.errors import StorageError
from planner.units import MIB, format_bytes

_PARTIAL_SUFFIX = ".partial"
_SYNC_BYTES = 8 * MIB


def write_atomically(path: Path | str, data: bytes | str) -> None:
    """Write a whole file so that, whatever happens, `path` holds either what it held before or all of `data`.

    Text is written as UTF-8. Raises StorageError.
    """
    with AtomicFile(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


class AtomicFile:
    """A file written under a temporary name, which replaces `path` when the `with` block ends without an exception.

    Temporary file in the same folder → write → fsync → rename → fsync of the folder: after a crash at any time `path`
    holds its old content or all of the new. An exception in the block removes the temporary file; only a killed process
    leaves one behind, for `remove_partials`. Nothing is buffered: every `write` is a system call, so write in large
    chunks. Every 8 MiB are synced and dropped from the page cache, since dirty pages count in a container's memory
    until they are written. Every OSError comes as StorageError.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.written_bytes = 0
        self._partial = self.path.with_name(f".{self.path.name[:100]}.{secrets.token_hex(8)}{_PARTIAL_SUFFIX}")
        self._fd = -1
        self._unsynced = 0

    def __enter__(self) -> AtomicFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with storage_errors(self.path):
            self._fd = os.open(self._partial, flags, 0o666)
        return self

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data` whole, however many writes the kernel makes of it."""
        rest = memoryview(data).cast("B")
        with storage_errors(self.path):
            while rest:
                count = os.write(self._fd, rest[: _SYNC_BYTES - self._unsynced])
                self.written_bytes += count
                self._unsynced += count
                rest = rest[count:]
                if self._unsynced >= _SYNC_BYTES:
                    os.fdatasync(self._fd)
                    os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    self._unsynced = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            with storage_errors(self.path):
                os.fsync(self._fd)
                self._close()
                self._partial.replace(self.path)
        except BaseException:
            self._discard()
            raise
        sync_folder(self.path.parent)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _discard(self) -> None:
        """Leave nothing behind; what goes wrong here must not hide the error that led here."""
        for cleanup in (self._close, self._partial.unlink):
            try:
                cleanup()
            except OSError:
                continue


def remove_partials(folder: Path | str) -> int:
    """Remove the temporary files that killed processes left in `folder`, and return their bytes.

    Call it only while holding the folder's lock: the unfinished files of living processes look the same.
    """
    freed = 0
    with storage_errors(Path(folder)):
        for file in Path(folder).glob(f".*{_PARTIAL_SUFFIX}"):
            freed += file.stat().st_size
            file.unlink()
    return freed


def sync_folder(folder: Path | str) -> None:
    """Make the names in a folder (files created, renamed, removed) survive a power failure. Raises StorageError."""
    with storage_errors(Path(folder)):
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            return  # one may write in a folder without reading it; there is nothing else to call
        try:
            os.fsync(fd)
        except OSError as error:
            # Some network and FUSE file systems have no fsync for folders; there is nothing else to call.
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(fd)


def make_folder(folder: Path | str, mode: int = 0o777) -> None:
    """Make a folder and its missing parents, durably: a file in it would not survive a power failure otherwise.

    Args:
        folder: may be there already.
        mode: permissions of the folder itself, before the umask.

    Raises:
        StorageError: it cannot be made, or a file has its name.
    """
    folder = Path(folder).absolute()
    with storage_errors(folder):
        lacking = missing_folders(folder)
        folder.mkdir(mode, parents=True, exist_ok=True)
    for made in reversed(lacking):
        sync_folder(made.parent)


def check_target(path: Path) -> None:
    """Raise StorageError where a file could not be written to `path`: called before its content is computed."""
    with storage_errors(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def missing_folders(folder: Path) -> list[Path]:
    """The folders that `make_folder` would make: `folder` first, then its missing parents."""
    return [each for each in (folder, *folder.absolute().parents) if not each.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders that are empty; errors are ignored."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def free_bytes(path: Path | str) -> int:
    """Free bytes for this user on the file system of `path`, which need not exist yet. Raises StorageError."""
    existing = Path(path).absolute()
    with storage_errors(existing):
        while not existing.exists():
            existing = existing.parent
        found = os.statvfs(existing)
    return found.f_bavail * found.f_frsize


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the `with` block into a StorageError that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(_explain(path, error)) from error


def _explain(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        try:
            left = f" ({format_bytes(free_bytes(path))} left)"
        except StorageError:
            left = ""
        return f"{path}: storage is full{left}; make space, or choose a folder on another device"
    reasons = {
        errno.EDQUOT: "this user's quota on the storage is used up; make space, or choose a folder elsewhere",
        errno.EROFS: "the storage can only be read; choose a folder that can be written to",
        errno.EACCES: "this user may not write here; choose another folder, or change its permissions",
        errno.EEXIST: "a file stands where a folder is to be; choose another folder",
        errno.ENOTDIR: "a file stands where a folder is to be; choose another folder",
        errno.ENOENT: "the folder does not exist; create it first",
    }
    return f"{path}: {reasons.get(error.errno or 0, error.strerror or str(error))}"
