"""Limits a process sets on itself: mapped memory, and not outliving its parent."""

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
    """A limit on this process's private writable mappings, in force until `lift` or the end of the `with` block."""

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
    """Let this process map `extra_bytes` beyond what it has mapped now; more fails instead of being killed.

    An overrun becomes an error that can be caught: MemoryError, the tensor allocator's RuntimeError, or "can't start
    new thread". The kernel counts what is mapped, not what is touched (VmData), a stack of 8 MiB for each thread and
    arenas included: call it when all threads and libraries are warm. Only the soft limit moves, so it can be lifted.
    It holds at once; as a context manager it is lifted on the way out.
    """
    return DataLimit(extra_bytes)


def die_with_parent(parent_pid: int | None = None) -> None:
    """Have the kernel kill this process (SIGKILL) as soon as its parent ends, however that happens.

    Call it first thing in the child: it does not survive a fork. The parent may have ended before the call; a child
    that was told its `parent_pid` notices that and ends itself. The kernel watches the *thread* that started the child,
    so a parent starts it from a thread that lasts. Raises RunError where the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        raise RunError(f"the child cannot be tied to its supervisor ({os.strerror(ctypes.get_errno())})")
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
