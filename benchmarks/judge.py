"""The judge of the promise: a memory group whose hard limit is the budget, and VmHWM polled from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from planner.system.proc import read_memory
from tests.memory_group import MemoryGroup

_POLL_SECONDS = 0.002


class Watch:
    """Polls the sum of VmHWM over a group's processes, from outside them."""

    def __init__(self, group: MemoryGroup, poll_seconds: float = _POLL_SECONDS) -> None:
        self._poll_seconds = poll_seconds
        self._procs = group.path / "cgroup.procs"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self.peak_bytes = 0
        """The highest sum."""

    def _poll(self) -> None:
        while not self._over.wait(self._poll_seconds):
            pids = map(int, self._procs.read_text().split())
            self.peak_bytes = max(self.peak_bytes, summed_peaks(pids))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def summed_peaks(pids: Iterable[int]) -> int:
    """The sum of VmHWM over processes, one memory that several have counted once.

    A process that starts a program has a twin in its own memory until the program begins (vfork), and `import torch`
    does so in its CUDA builds, for `ldconfig`. The twin's figures are equal to its parent's, which waits meanwhile.
    """
    found = set()
    for pid in pids:
        try:
            found.add(read_memory(pid))
        except ProcessLookupError:
            continue  # it ended since it was listed
    return sum(memory.peak_bytes for memory in found)


def within(group: MemoryGroup, command: list[str]) -> list[str]:
    """Start `command` inside the group by a shell: a fork of this process would be seen there with all of its memory.

    That copy lives for a moment, until it starts the command, and is as large as everything that was imported.
    """
    return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group.path / "cgroup.procs"), *command]
