"""The storage behind a folder: its file system, whether that is memory, and how fast it writes and reads."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from planner.errors import StorageError
from planner.system.files import free_bytes, storage_errors
from planner.system.hierarchy import FILESYSTEM_ROOT, read_value
from planner.units import MIB, format_bytes

IN_MEMORY = ("tmpfs", "ramfs", "hugetlbfs")
"""File systems in memory: what is written there takes memory, and says nothing of a device's speed."""

_MAGIC = {
    0x01021994: "tmpfs", 0x858458F6: "ramfs", 0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs",
    0xF2F52010: "f2fs", 0x2FC12FC1: "zfs", 0x4D44: "vfat", 0x2011BAB0: "exfat", 0x7366746E: "ntfs3",
    0x794C7630: "overlay", 0x65735546: "fuse", 0x6969: "nfs", 0xFF534D42: "cifs", 0xFE534D42: "smb2",
    0x01021997: "9p", 0x24051905: "ubifs", 0x958458F6: "hugetlbfs",
}  # fmt: skip
"""By the number that statfs(2) gives; ext2 and ext3 have the one of ext4."""

_MEMORY_DEVICES = ("ram", "zram")
"""Beginnings of the names of block devices that are memory, compressed or not."""

_STATFS_BYTES = 512
"""Room for the kernel's answer, which takes 120 bytes; the kind is its first word."""

_CHUNK_BYTES = MIB
_LEAST_BYTES = 4 * MIB


@dataclass(frozen=True)
class StorageSpeed:
    """Sequential speed of the storage behind a folder."""

    write_bytes_per_second: float
    """From the first write until the data is on the device (fsync included)."""

    read_bytes_per_second: float
    """From the device, not from the page cache; a file system in memory has only its own speed to show."""

    measured_bytes: int
    """Size of the file that was written and read."""

    file_system: str
    """What `file_system` says of the folder."""


def file_system(folder: Path | str) -> str:
    """The kernel's name of the file system that a folder is on, such as `ext4`; of an unknown one its number in hex.

    Raises StorageError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    with storage_errors(Path(folder)):
        if libc.statfs(os.fsencode(folder), answer) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    magic = ctypes.c_ulong.from_buffer(answer).value & 0xFFFFFFFF
    return _MAGIC.get(magic, f"{magic:#x}")


def memory_kind(folder: Path | str, root: Path = FILESYSTEM_ROOT) -> str | None:
    """Whether what is written to a folder takes memory: `tmpfs`, `ext4 on zram0`; None where it goes to storage.

    Args:
        folder: one that does not exist yet is judged by the one that it would be made in.
        root: where /proc and /sys are looked up.

    Raises:
        StorageError: the folder cannot be looked at.
    """
    existing = Path(folder).absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    kind = file_system(existing)
    if kind in IN_MEMORY:
        return kind
    with storage_errors(existing):
        device = existing.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    below = (root / "sys/dev/block" / number).resolve().name  # …/devices/virtual/block/zram0
    if below.rstrip("0123456789") in _MEMORY_DEVICES:
        return f"{kind} on {below}"
    upper = _upper_folder(number, root) if kind == "overlay" else None
    deeper = memory_kind(upper, root) if upper is not None and upper.is_dir() else None
    return None if deeper is None else f"{kind} on {deeper}"


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A temporary folder, removed at the end of the `with` block.

    It is made in the first of `beside`, TMPDIR, /var/tmp and the current folder that is writable and no memory; where
    all writable ones are memory, in the first of those. Raises StorageError where nothing is writable.
    """
    import tempfile  # a run's supervisor looks at kinds alone, and pays for what it imports

    folders = [beside, Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    writable = [candidate for candidate in folders if os.access(candidate, os.W_OK | os.X_OK)]
    on_storage = [candidate for candidate in writable if memory_kind(candidate) is None]
    for candidate in (*on_storage, *writable):
        try:
            made = tempfile.TemporaryDirectory(prefix="neuroflux-", dir=candidate, ignore_cleanup_errors=True)
        except OSError:
            continue  # a mount that can only be read, whatever its permissions say
        with made as name:
            yield Path(name)
        return
    raise StorageError(f"{beside}: nothing can be written there, nor in {tempfile.gettempdir()}; set TMPDIR")


def _upper_folder(device: str, root: Path) -> Path | None:
    """The folder that the overlay file system with this device number writes to; None where its options do not say."""
    for line in (read_value(root / "proc/self/mountinfo") or "").splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split()[2:3] == [device]:
            for option in kind.rpartition(" ")[2].split(","):
                if option.startswith("upperdir="):
                    return Path(option.removeprefix("upperdir=").replace("\\040", " "))
    return None


def measure_storage(folder: Path | str, size_bytes: int = 64 * MIB) -> StorageSpeed:
    """Time writing, syncing and reading back a file of random bytes, which no file system compresses.

    Args:
        folder: where the file is made; it is removed again.
        size_bytes: its size; less where that is more than a tenth of the free space.

    Returns:
        Speeds without the page cache: the file is synced, and evicted before it is read.

    Raises:
        StorageError: a tenth of the free space is less than 4 MiB, or storage fails.
    """
    import tempfile  # a run's supervisor looks at kinds alone, and pays for what it imports

    tenth = free_bytes(folder) // 10
    size_bytes = min(size_bytes, tenth) // _CHUNK_BYTES * _CHUNK_BYTES
    if size_bytes < _LEAST_BYTES:
        raise StorageError(
            f"{folder}: too little room to measure its speed; {format_bytes(_LEAST_BYTES)} are written at least, and "
            f"only a tenth of the free space ({format_bytes(tenth)}) may be"
        )
    with storage_errors(Path(folder)), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        write_seconds = _timed_write(file.fileno(), size_bytes)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        read_seconds = _timed_read(file.fileno(), size_bytes)
    return StorageSpeed(size_bytes / write_seconds, size_bytes / read_seconds, size_bytes, file_system(folder))


def _timed_write(fd: int, size_bytes: int) -> float:
    chunk = os.urandom(_CHUNK_BYTES)
    start = perf_counter()
    for offset in range(0, size_bytes, _CHUNK_BYTES):
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.pwrite(fd, rest, offset + _CHUNK_BYTES - len(rest)) :]
    os.fsync(fd)
    return perf_counter() - start


def _timed_read(fd: int, size_bytes: int) -> float:
    buffer = bytearray(_CHUNK_BYTES)
    start = perf_counter()
    done = 0
    while done < size_bytes:
        count = os.preadv(fd, [buffer], done)
        if count == 0:
            raise StorageError(f"the storage gave back {done} of the {size_bytes} bytes written to it")
        done += count
    return perf_counter() - start
