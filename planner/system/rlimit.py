"""Limits that a process sets on itself: mapped memory (RLIMIT_DATA), and its parent's life (PR_SET_PDEATHSIG)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from types import TracebackType

from planner.errors import RunError
from planner.system.proc import read_memory

_PR_SET_PDEATHSIG = 1


class DataLimit:
    """A limit on this process's private writable mappings (RLIMIT_DATA), until `lift` or the `with` block's end."""

    def __init__(self, extra_bytes: int) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_DATA)
        hard = self._before[1]
        wanted = read_memory().data_bytes + extra_bytes
        self.limit_bytes = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (self.limit_bytes, hard))

    def lift(self) -> None:
        """Put back the limit that held before; doing it twice changes nothing."""
        resource.setrlimit(resource.RLIMIT_DATA, self._before)

    def __enter__(self) -> DataLimit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lift()


def limit_data(extra_bytes: int) -> DataLimit:
    """Limit what this process may map from here on, so that an overrun is an error instead of a kill.

    The error is a MemoryError, the tensor allocator's RuntimeError, or "can't start new thread". The kernel counts what
    is mapped, touched or not (VmData), a stack of 8 MiB for each thread and arenas included: call it when all threads
    and libraries are loaded. Only the soft limit moves, so it can be lifted.

    Args:
        extra_bytes: what may be mapped beyond what is mapped now.

    Returns:
        The limit, in force already; as a context manager it is lifted at the end.
    """
    return DataLimit(extra_bytes)


def die_with_parent(parent_pid: int | None = None) -> None:
    """Have the kernel kill this process (SIGKILL) as soon as its parent ends, however that happens.

    Call it first in the child: the setting does not survive a fork. The kernel watches the *thread* that started the
    child, so a parent starts it from a thread that lasts.

    Args:
        parent_pid: the parent's process id; a parent that has ended before the call is noticed by it. None: is not.

    Raises:
        RunError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        raise RunError(f"the child cannot be tied to its supervisor ({os.strerror(ctypes.get_errno())})")
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
