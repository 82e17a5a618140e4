"""Starting a Python program of ours as a child process that answers in lines (`planner.system.answers`).

Answers have a pipe of their own. What the child or a library in it prints (ONEDNN_VERBOSE=1) goes where its errors go.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import IO, BinaryIO, TypeVar

from planner.errors import OverBudgetError, RunError
from planner.schema.codec import decode, parse_json
from planner.system.allocator import variables_to_start_with
from planner.system.answers import VARIABLE
from planner.system.ends import End
from planner.system.oom import kill_first
from planner.system.resident import split_torch_libraries

T = TypeVar("T")

STANDARD_ERROR = 2
"""As `output`: this process's own standard error, whatever `sys.stderr` is."""

_KEPT_BYTES = 2**14
"""Of what a child that is asked prints, the end is kept."""


@contextlib.contextmanager
def answering() -> Iterator[tuple[int, int, dict[str, str]]]:
    """A pipe for a child's answers: descriptor to read, descriptor to pass on, environment that tells it of both.

    At the end of the `with` block the descriptor to pass on is closed; with an exception the other one as well.
    """
    source, target = os.pipe()
    try:
        yield source, target, {**os.environ, VARIABLE: f"{target} {os.getpid()}"}
    except BaseException:
        os.close(source)
        raise
    finally:
        os.close(target)


class ChildProcess:
    """`python ARGUMENTS` in a process group of its own, so that Ctrl-C reaches the parent alone.

    It is killed when the `with` block ends, and from when it has opened its `Answers` also where this process ends in
    any other way. Should memory run out, the kernel kills it before any other process.

    Args:
        arguments: of the interpreter.
        output: where its standard output and standard error go.
        stdin: as `subprocess.Popen` takes it.
        keep: descriptors that it inherits.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        output: int | IO[bytes],
        stdin: int = subprocess.DEVNULL,
        keep: Sequence[int] = (),
    ) -> None:
        if "torch" in sys.modules:
            split_torch_libraries()  # pages that this process maps too could not be split once the child has them
        with answering() as (source, target, environment):
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=stdin,
                stdout=output,
                stderr=output,
                env={**environment, **variables_to_start_with()},
                pass_fds=(target, *keep),
                process_group=0,
            )
        kill_first(self.process.pid)
        self.answers_fd = source
        """The pipe that its answers come in."""

    @cached_property
    def answers(self) -> BinaryIO:
        """The same as a file. It is opened when it is asked for: the code behind one takes memory too."""
        return os.fdopen(self.answers_fd, "rb", closefd=False)

    def close(self) -> None:
        """Kill it and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.process.wait()
        os.close(self.answers_fd)

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Answer:
    """What `ask` has from a child that has ended."""

    code: int
    """Its exit code; negative: the signal that ended it."""
    text: bytes
    """All lines that it answered."""
    printed_text: str
    """The last 16 KiB of what it printed."""

    @property
    def end(self) -> End:
        """What its code means."""
        return End(self.code)

    @property
    def last_words(self) -> str:
        """The last line it printed, cut where it is long."""
        return (self.printed_text.splitlines() or ["it said nothing"])[-1][-300:]

    def decoded(self, kind: type[T], process: str, remedy: str) -> T:
        """Its one line of JSON, as a `kind`.

        Raises, where it ended without one: OverBudgetError where that may have been for lack of memory, against which
        `remedy` helps; RunError otherwise. `process` is what the message calls it.
        """
        if self.text.endswith(b"\n"):
            return decode(kind, parse_json(self.text))
        if self.end.may_be_memory:
            raise OverBudgetError(
                f"{process} was {self.end.explained}: {self.last_words}; where that was memory, {remedy}"
            )
        raise RunError(f"{process} was {self.end.explained}, unexpectedly: {self.last_words}")


def ask(
    arguments: Sequence[str],
    patience_seconds: float | None = None,
    question: bytes = b"",
    on_line: Callable[[bytes], bool] | None = None,
) -> Answer:
    """Run `python ARGUMENTS` to its end.

    Args:
        arguments: of the interpreter.
        patience_seconds: most time that it may take; None: any.
        question: its standard input, which it has to read whole before it answers at length.
        on_line: called with every line of its answers as it comes; one for which it returns True is left out of `text`.

    Raises:
        TimeoutError: it took longer than `patience_seconds`, and was killed.
    """
    deadline = None if patience_seconds is None else time.monotonic() + patience_seconds

    def patience() -> float | None:
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    printed, output = os.pipe()
    try:
        try:
            child = ChildProcess(arguments, output, subprocess.PIPE if question else subprocess.DEVNULL)
        finally:
            os.close(output)
        with child:
            if child.process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    child.process.stdin.write(question)
                    child.process.stdin.close()
            text, printed_text = drain(child.answers_fd, printed, patience, on_line or (lambda line: False))
            code = child.process.wait()
    finally:
        os.close(printed)
    return Answer(code, text, printed_text.decode(errors="replace").strip())


def drain(
    answers: int, printed: int, patience: Callable[[], float | None], on_line: Callable[[bytes], bool]
) -> tuple[bytes, bytes]:
    """Read both pipes to their ends: of the first all lines that `on_line` does not take, of the second the end.

    `patience` says before each wait how long it may be, in seconds, None where it may be any; once that is 0, and
    nothing has arrived, TimeoutError is raised.
    """
    found = {answers: b"", printed: b""}
    kept = b""
    poll = select.poll()
    for pipe in found:
        poll.register(pipe, select.POLLIN)
    open_pipes = set(found)
    while open_pipes:
        left = patience()
        ready = poll.poll(None if left is None else 1000 * left)
        if not ready and left == 0:
            raise TimeoutError
        for pipe, _ in ready:
            arrived = os.read(pipe, 2**16)
            found[pipe] += arrived
            if not arrived:
                poll.unregister(pipe)
                open_pipes.remove(pipe)
        found[printed] = found[printed][-_KEPT_BYTES:]
        *lines, found[answers] = found[answers].split(b"\n")
        kept += b"".join(line + b"\n" for line in lines if not on_line(line))
    return kept + found[answers], found[printed]
