"""What a child tells its parent: lines on a pipe of its own, which no library's print can reach.

Apart from `planner.system.child`, the parent's side, for the training child pays for whatever it imports.
"""

from __future__ import annotations

import os
from typing import BinaryIO

VARIABLE = "NEUROFLUX_ANSWERS"
"""The environment variable that names the pipe's descriptor to a child."""


class Answers:
    """The way to the parent. Open it once. Without a parent that listens (run by hand), standard output is the way."""

    def __init__(self) -> None:
        # What this process starts is to have neither the name nor the pipe, or the parent would wait for its end.
        given = os.environ.pop(VARIABLE, None)
        number = os.dup(1) if given is None else int(given)
        os.set_inheritable(number, False)
        self.stream: BinaryIO = os.fdopen(number, "wb")

    def emit(self, line: str) -> None:
        """Send one line, at once."""
        self.stream.write(line.encode() + b"\n")
        self.stream.flush()
