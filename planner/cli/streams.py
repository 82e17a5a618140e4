"""Standard streams that cannot stop the work: whoever reads them may go away, stand still, or never have been there."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CHUNK_BYTES = select.PIPE_BUF
"""Of a pipe that is ready for writing, so much is taken without waiting."""

_PATIENCE_MILLISECONDS = 100
"""How long a reader that is behind is waited for; then what was to be told is left out."""


class _Optional(io.FileIO):
    """A descriptor that is written to as far as that is possible: what cannot be written is gone.

    The reader of a pipe has ended (EPIPE), the disk below a log is full (ENOSPC), the terminal is gone (EIO), or the
    reader takes nothing (`less`, a stopped process): none of these is worth a training.
    """

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data).cast("B")
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        for start in range(0, len(view), _CHUNK_BYTES):
            if not poll.poll(_PATIENCE_MILLISECONDS):
                break
            try:
                super().write(view[start : start + _CHUNK_BYTES])
            except OSError:
                break
        return len(view)


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """Within this, writing to `sys.stderr` cannot fail or wait, and descriptors 0 to 2 are open, as text in any locale.

    Standard output stays as it is, for a result that got lost is an error (`planner.cli.output`); what is still in its
    buffer at the end is written, or let go where nobody is there to read it. Streams that somebody else has put in
    place of the real ones are left alone.
    """
    _open_missing()
    output, error, real = sys.stdout, sys.stderr, sys.__stderr__
    if sys.__stdout__ is None and output is None:
        sys.stdout = _onto_nothing()
    if error is None:
        sys.stderr = _onto_nothing()
    elif real is not None and error is real:
        buffer = io.BufferedWriter(_Optional(real.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(buffer, real.encoding, "replace", line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # tables use ×, – and …, which an ASCII terminal lacks
    try:
        yield
    finally:
        _finish(sys.stdout)
        sys.stdout, sys.stderr = output, error


def let_go(stream: TextIO) -> None:
    """Point a stream at nothing: neither what is in its buffer nor what follows can fail any more."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError):  # no file lies below it
        os.dup2(nothing, stream.fileno())
    os.close(nothing)


def _finish(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        let_go(stream)


def _open_missing() -> None:
    """Fill the standard descriptors that whoever started us has closed (`2>&-`).

    Otherwise the next file that is opened has such a number, and what a library prints goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one


def _onto_nothing() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # it stays open as a standard stream does
