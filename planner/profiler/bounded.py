"""Measuring children under a memory limit and a time limit, so that measuring never hurts the device.

Three guards for memory, each for what the one before lets through: the child limits what it maps, so that an overrun is
an error in it (`OwnLimit`); its parent polls its resident bytes and kills it above the limit; and should the machine
run out of memory all the same, the kernel kills the child before any other process.
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
"""Of available memory; the rest is for other processes while the measurement runs."""

_CODE_BYTES = 40 * MIB
"""Code pages that measuring a component touches (33 to 36 MiB were seen). RLIMIT_DATA does not count them."""

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.0
_MESSAGE_LENGTH = 300


@dataclass(frozen=True)
class Bounds:
    """Limits of a whole measurement."""

    max_bytes: int
    """Most resident bytes of each measuring process."""
    max_seconds: float
    """Most seconds of the whole measurement."""
    deadline: float
    """When these have passed, by `time.monotonic`."""
    is_elsewhere: bool = False
    """Whether `max_bytes` are an accelerator's, which each measuring process limits itself (`OwnAcceleratorLimit`)."""

    @classmethod
    def begin(
        cls, max_bytes: int | None = None, max_seconds: float | None = None, accelerator_bytes: int | None = None
    ) -> Bounds:
        """Start the clock.

        Args:
            max_bytes: at most what is available; None: 80 % of that.
            max_seconds: None: 10 minutes.
            accelerator_bytes: size of the accelerator's memory, where the measurement is of one.
        """
        available = available_bytes() if accelerator_bytes is None else accelerator_bytes
        wanted = available * _DEFAULT_PERCENT // 100 if max_bytes is None else max_bytes
        seconds = _DEFAULT_SECONDS if max_seconds is None else max_seconds
        return cls(min(wanted, available), seconds, time.monotonic() + seconds, accelerator_bytes is not None)

    @property
    def seconds_left(self) -> float:
        """Until the deadline; negative after it."""
        return self.deadline - time.monotonic()


class OutOfTimeError(Exception):
    """A child was ended because the deadline had passed."""


class EndedError(Exception):
    """A child has ended without an answer. `end` says how, `last_words` is the last line that it printed."""

    def __init__(self, code: int, last_words: str) -> None:
        self.end = End(code)
        self.last_words = last_words
        super().__init__(f"{self.end.explained}: {last_words}")


class Child:
    """A Python module run as a measuring child; it and what it starts are killed when the `with` block ends."""

    def __init__(self, bounds: Bounds, module: str, *arguments: str) -> None:
        self._bounds = bounds
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  # closed by `close`
        with without_huge_pages():  # as a run's child is started
            self._child = ChildProcess(["-m", module, *arguments], self._log, stdin=subprocess.PIPE)
        self._process = self._child.process
        self._unread = b""

    def send(self, line: str) -> None:
        """Write a line to its standard input. That a child has ended is noticed by `read`, not here."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def read(self) -> str:
        """Wait for its next line, and kill it should its resident bytes rise above the limit.

        Raises:
            OutOfTimeError: the deadline has passed.
            EndedError: it ended first, by itself or killed.
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
        """Kill it and what it started."""
        self._child.close()
        self._log.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OwnLimit:
    """Keeps this process's resident bytes below `max_bytes` by limiting what it maps (RLIMIT_DATA), until it ends.

    Make it in a child once torch and its threads have started.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def renew(self) -> int:
        """Release free memory to the kernel and set the limit again.

        The limit counts what is mapped, and a fragmented heap maps more than is resident: that difference grows with
        every component, and would in the end leave no room.

        Returns:
            Resident bytes at rest. Where they reach `max_bytes` already no limit is set, and the caller has to act.
        """
        release()
        if read_memory().file_bytes > _CODE_BYTES:
            trim_clean_pages()
        memory = read_memory()
        taken = memory.anonymous_bytes + max(memory.file_bytes, _CODE_BYTES)
        if taken < self._max_bytes:
            limit_data(self._max_bytes - taken)
        return taken
