"""The child's side of the answer pipe: lines for the parent, on a descriptor that no library's print can reach.

The parent's side is `planner.system.child`; it is a module of its own because every import of the training child counts
in its budget.
"""

from __future__ import annotations

import os
from typing import BinaryIO

VARIABLE = "NEUROFLUX_ANSWERS"
"""The environment variable that names the pipe's descriptor to a child."""


class Answers:
    """The pipe to the parent. Open it once. Where there is no parent (run by hand) it is standard output."""

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
