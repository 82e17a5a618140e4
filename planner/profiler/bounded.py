"""Measuring children under a memory limit and a time limit, so that measuring never hurts the device.

Three nets for memory, each for what the one before lets through: the child limits what it maps, so that an overrun is
an error in it (`OwnLimit`); its parent watches its resident bytes and kills it above the limit; and should the kernel
run out of memory all the same, it kills the child before anybody else's process.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass
from types import TracebackType

from planner.system.allocator import release
from planner.system.child import ChildProcess
from planner.system.ends import End
from planner.system.memory import available_bytes
from planner.system.pages import without_huge_pages
from planner.system.proc import read_memory
from planner.system.resident import trim_clean_pages
from planner.system.rlimit import limit_data
from planner.units import MIB

_DEFAULT_SECONDS = 600.0
_DEFAULT_PERCENT = 80
"""Of what is available: the rest is room for everybody else while the measurement runs."""

_CODE_BYTES = 40 * MIB
"""Code pages that measuring a component touches (33 to 36 MiB were seen). RLIMIT_DATA does not count them."""

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.0
_MESSAGE_LENGTH = 300


@dataclass(frozen=True)
class Bounds:
    """What a whole measurement may take."""

    max_bytes: int
    """Resident bytes of each measuring process."""
    max_seconds: float
    """Seconds of the whole measurement."""
    deadline: float
    """When they are over, on the steady clock."""
    is_elsewhere: bool = False
    """Whether `max_bytes` are an accelerator's, which each measuring process sees to itself."""

    @classmethod
    def begin(
        cls, max_bytes: int | None = None, max_seconds: float | None = None, accelerator_bytes: int | None = None
    ) -> Bounds:
        """Start the clock. Left out, 80 % of what is available here and 10 minutes hold; nobody gets more bytes than
        are available. `accelerator_bytes` is the size of the accelerator's memory, where that is meant."""
        available = available_bytes() if accelerator_bytes is None else accelerator_bytes
        wanted = available * _DEFAULT_PERCENT // 100 if max_bytes is None else max_bytes
        seconds = _DEFAULT_SECONDS if max_seconds is None else max_seconds
        return cls(min(wanted, available), seconds, time.monotonic() + seconds, accelerator_bytes is not None)

    @property
    def seconds_left(self) -> float:
        """Until the deadline; negative behind it."""
        return self.deadline - time.monotonic()


class OutOfTimeError(Exception):
    """A child was ended because the deadline had passed."""


class EndedError(Exception):
    """A child has ended without an answer: how, and its last words."""

    def __init__(self, code: int, last_words: str) -> None:
        self.end = End(code)
        self.last_words = last_words
        super().__init__(f"{self.end.explained}: {last_words}")


class Child:
    """A Python module run as a measuring child. It and what it starts are killed when the `with` block ends."""

    def __init__(self, bounds: Bounds, module: str, *arguments: str) -> None:
        self._bounds = bounds
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  # closed by `close`
        with without_huge_pages():  # as a run's child is started
            self._child = ChildProcess(["-m", module, *arguments], self._log, stdin=subprocess.PIPE)
        self._process = self._child.process
        self._unread = b""

    def send(self, line: str) -> None:
        """Give it a line. One that has ended takes none, which shows when it is read from."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def read(self) -> str:
        """Wait for its next line, its resident bytes watched meanwhile.

        Raises OutOfTimeError once the deadline has passed, EndedError when it ends first or takes too much memory.
        """
        pipe = self._child.answers_fd
        while b"\n" not in self._unread:
            if self._bounds.seconds_left < -_GRACE_SECONDS:
                raise OutOfTimeError
            self._watch()
            if not select.select([pipe], [], [], _POLL_SECONDS)[0]:
                continue
            arrived = os.read(pipe, 2**16)
            if not arrived:
                raise EndedError(self._process.wait(), self._last_words())
            self._unread += arrived
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def _watch(self) -> None:
        if self._bounds.is_elsewhere:
            return
        with contextlib.suppress(ProcessLookupError):
            if read_memory(self._process.pid).resident_bytes > self._bounds.max_bytes:
                self._process.kill()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return (lines or ["it said nothing"])[-1][-_MESSAGE_LENGTH:]

    def close(self) -> None:
        """End it and what it started. Nothing of it is waited for: its answers have been read."""
        self._child.close()
        self._log.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OwnLimit:
    """Keeps this process's resident bytes below `max_bytes` by limiting what it maps; in force until it ends.

    Begin it in a child when torch has started and threads are warm.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def renew(self) -> int:
        """Give back what is free, limit anew, and return what this process takes at rest.

        The limit counts what is mapped, and a heap with holes maps more than it has: what is mapped and not resident
        grows with every component, and would in the end leave no room. Where the process takes more than it may
        already, nothing is limited: whoever reads the returned bytes sees to that.
        """
        release()
        if read_memory().file_bytes > _CODE_BYTES:
            trim_clean_pages()
        memory = read_memory()
        taken = memory.anonymous_bytes + max(memory.file_bytes, _CODE_BYTES)
        if taken < self._max_bytes:
            limit_data(self._max_bytes - taken)
        return taken
