"""A process's memory as the kernel counts it: /proc/PID/status, as integer bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass

_READ_BYTES = 16 * 1024
"""More than the part of a status file that holds the fields below."""

CANNOT_BEGIN_ANEW = "the kernel lets no process begin its peak anew here (/proc/self/clear_refs cannot be written)"
"""The message of errors where `reset_peak` returns False."""


@dataclass(frozen=True)
class Memory:
    """One process's memory at one time. Processes share pages: a sum over several counts those more than once."""

    resident_bytes: int
    """Bytes in RAM now (VmRSS): anonymous, file and shared memory."""

    peak_bytes: int
    """The highest `resident_bytes` since the process began or since `reset_peak` (VmHWM)."""

    anonymous_bytes: int
    """The part of `resident_bytes` that no file backs (RssAnon): it goes only by being freed or swapped."""

    file_bytes: int
    """The part of `resident_bytes` that files back, such as library code (RssFile): the kernel can take it back."""

    data_bytes: int
    """Private writable mappings, touched or not (VmData): what RLIMIT_DATA counts."""

    swap_bytes: int
    """Anonymous bytes in swap (VmSwap): 0 where a process has all its memory in RAM."""


def read_memory(pid: int | None = None) -> Memory:
    """Read a process's memory: one open, one read, no line-by-line parsing.

    The peak is VmHWM and not `ru_maxrss`, which a child inherits from its parent. Many kernels count in batches of some
    tens of pages per thread or core, so that a figure may lag behind by a few hundred KiB.

    Args:
        pid: the process; None: this one.

    Raises:
        ProcessLookupError: the process is gone, zombies included.
    """
    status = _read_status(pid)
    return Memory(
        resident_bytes=_kibibytes(status, b"\nVmRSS:"),
        peak_bytes=_kibibytes(status, b"\nVmHWM:"),
        anonymous_bytes=_kibibytes(status, b"\nRssAnon:"),
        file_bytes=_kibibytes(status, b"\nRssFile:"),
        data_bytes=_kibibytes(status, b"\nVmData:"),
        swap_bytes=_kibibytes(status, b"\nVmSwap:"),
    )


def reset_peak() -> bool:
    """Start the peak of this process (VmHWM) again from what is resident now.

    Returns:
        Whether the kernel did. Sandboxes may leave /proc/self/clear_refs out or forbid writing to it; then `peak_bytes`
        stays the peak since the process began.
    """
    try:
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(fd, b"5") == 1
    except OSError:
        return False
    finally:
        os.close(fd)


def _read_status(pid: int | None) -> bytes:
    path = "/proc/self/status" if pid is None else f"/proc/{pid}/status"
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}") from None
    try:
        return os.read(fd, _READ_BYTES)
    finally:
        os.close(fd)


def _kibibytes(status: bytes, key: bytes) -> int:
    return int(_value(status, key, b" kB")) * 1024


def _value(status: bytes, key: bytes, end: bytes) -> bytes:
    start = status.find(key)
    if start < 0:
        raise ProcessLookupError(f"the process has ended: its status has no {key[1:-1].decode()}")
    start += len(key)
    return status[start : status.index(end, start)]
