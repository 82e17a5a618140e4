"""Work done by a copy of this process, so that what it takes and what it breaks is the copy's.

A copy has everything that this process has, objects that cannot be pickled included, and its memory is shared until one
of the two writes to it. What it lacks are the other threads: a lock that one of them held stays held for ever. Whoever
asks a copy says for how long it may use no processor time; then it is taken to stand still, and killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable

from planner.system.child import Answer, drain
from planner.system.oom import kill_first
from planner.system.rlimit import die_with_parent

_LOOK_SECONDS = 0.5

Work = Callable[[Callable[[str], None]], None]
"""What a copy does. It is given what sends a line to this process."""


class StandstillError(Exception):
    """A copy has used no processor time for as long as it may."""


def ask_copy(work: Work, standstill_seconds: float) -> Answer:
    """Do `work` in a copy of this process, to its end.

    The copy has a process group of its own, so that Ctrl-C reaches this process alone, and ends when this one does.
    What it prints is in the answer. Neither exit handlers nor finalizers of this process run in it.

    Args:
        work: its lines are the answer's `text`. An exception that it lets through ends the copy with code 1.
        standstill_seconds: most time for which the copy may use no processor time.

    Raises:
        StandstillError: it did, and was killed.
    """
    source, target = os.pipe()
    printed, output = os.pipe()
    try:
        try:
            pid = _fork(work, target, output)
        finally:
            os.close(target)
            os.close(output)
        kill_first(pid)
        clock = _Clock(pid, standstill_seconds)
        try:
            text, printed_text = drain(source, printed, clock.patience, lambda line: False)
        except BaseException as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if isinstance(error, TimeoutError):
                raise StandstillError from None
            raise
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(source)
        os.close(printed)
    return Answer(code, text, printed_text.decode(errors="replace").strip())


class _Clock:
    """How long another process has used no processor time."""

    def __init__(self, pid: int, standstill_seconds: float) -> None:
        self._id = (~pid << 3) | 2  # clock_getcpuclockid(3)
        self._most = standstill_seconds
        self._used = -1.0
        self._since = time.monotonic()

    def patience(self) -> float:
        """Seconds until it is looked at again; 0: it stands still."""
        with contextlib.suppress(OSError):  # it has ended: its pipes say so
            used = time.clock_gettime(self._id)
            if used != self._used:
                self._used, self._since = used, time.monotonic()
        left = self._since + self._most - time.monotonic()
        return min(max(0.0, left), _LOOK_SECONDS)


def _fork(work: Work, target: int, output: int) -> int:
    """Start the copy; its process id."""
    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of other threads: see the module
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        gc.freeze()  # finalizers of what is this process's garbage are not the copy's to run
        os.setpgid(0, 0)
        die_with_parent(parent)
        _redirect(output)
        faulthandler.disable()  # it would write where this process has told it to
        with os.fdopen(target, "wb") as answers:
            work(lambda line: _send(answers.write, answers.flush, line))
        code = 0
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(code)


def _send(write: Callable[[bytes], object], flush: Callable[[], None], line: str) -> None:
    write(line.encode() + b"\n")
    flush()


def _redirect(output: int) -> None:
    """Let standard output and error be `output`, for Python and for libraries, and standard input nothing."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, end in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(number, end)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # they stay open
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
