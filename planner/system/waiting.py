"""How long this process's threads wait for a processor that others have, and a clock that leaves it out.

The kernel counts for every thread how long it was ready to run and did not (/proc/self/task/TID/schedstat). On a device
that does something else meanwhile, that is what a measured time has too much.
"""

from __future__ import annotations

import os
import time


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 128)
    finally:
        os.close(descriptor)


def read_waits() -> dict[str, int]:
    """By thread: nanoseconds that it has waited for a processor; empty where the kernel does not count them."""
    found = {}
    try:
        with os.scandir("/proc/self/task") as threads:
            for thread in threads:
                found[thread.name] = int(_read(f"{thread.path}/schedstat").split()[1])
    except (OSError, ValueError, IndexError):
        return {}  # a thread that ended meanwhile, or a kernel that does not tell
    return found


_TRIES = 5
"""To read both clocks at one moment."""


class Clock:
    """Seconds without those that the process waited for a processor: of its threads, which wait for one another, those
    of the one that waited longest. Where the kernel does not count them it is a plain clock.
    """

    def __init__(self) -> None:
        self._waits = read_waits()
        self._taken = self._last = 0.0
        self.waited_seconds = 0.0
        """What it has left out until its last reading."""

    def now(self) -> float:
        """Seconds since some moment, without waiting and without what reading this clock takes; they never fall."""
        began = time.thread_time()
        for _ in range(_TRIES):
            waits = read_waits()
            now, until = time.perf_counter(), time.thread_time()
            if read_waits() == waits:  # nothing waited while the time was read
                break
        longest = max((waits[thread] - before for thread, before in self._waits.items() if thread in waits), default=0)
        self._waits = waits or self._waits
        self.waited_seconds += max(0, longest) / 1e9
        self._last = max(self._last, now - self.waited_seconds - self._taken - (until - began))
        self._taken += time.thread_time() - began
        return self._last


class WaitingShare:
    """How much of the time from now on this process waits for a processor."""

    def __init__(self) -> None:
        self._counts = bool(read_waits())
        self._clock, self._started = Clock(), time.perf_counter()

    def permille(self) -> int | None:
        """In thousandths; None where the kernel does not count."""
        if not self._counts:
            return None
        self._clock.now()
        elapsed = time.perf_counter() - self._started
        return min(1000, round(1000 * self._clock.waited_seconds / elapsed)) if elapsed else 0
