"""The child's side of the answer pipe: lines for the parent, on a descriptor that no library's print can reach.

The parent's side is `planner.system.child`; it is a module of its own because every import of the training child counts
in its budget.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from planner.system.rlimit import die_with_parent

VARIABLE = "NEUROFLUX_ANSWERS"
"""The environment variable that tells a child the pipe's descriptor and its parent's process id."""


class Answers:
    """The pipe to the parent. Open it once. Where there is no parent (run by hand) it is standard output.

    Who answers ends with the parent, however that one ends: nobody would read what is still to come.
    """

    def __init__(self) -> None:
        # What this process starts is to have neither the name nor the pipe, or the parent would wait for its end.
        given = os.environ.pop(VARIABLE, None)
        if given is None:
            number = os.dup(1)
        else:
            number, parent_pid = map(int, given.split())
            die_with_parent(parent_pid)
        os.set_inheritable(number, False)
        self._given = given
        self.stream: BinaryIO = os.fdopen(number, "wb")

    def emit(self, line: str) -> None:
        """Send one line, at once."""
        self.stream.write(line.encode() + b"\n")
        self.stream.flush()

    def hand_on(self) -> dict[str, str]:
        """Let the program that takes this one's place in its process (exec) answer on: the variables for it."""
        os.set_inheritable(self.stream.fileno(), self._given is not None)
        return {} if self._given is None else {VARIABLE: self._given}
