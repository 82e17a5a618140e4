"""The out-of-memory killer's order (oom_score_adj)."""

from __future__ import annotations

import contextlib
import os

_FIRST = 1000
"""The highest score there is: as if the process held all memory. Raising one's own, or a child's, needs no rights."""


def kill_first(pid: int) -> None:
    """Have the out-of-memory killer choose process `pid`, and what it starts from here on, before any other process.

    Nothing happens where /proc is not mounted, or the process has ended.
    """
    with contextlib.suppress(OSError):
        # Without a file object: the code behind one takes memory that counts in a budget.
        file = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY)
        try:
            os.write(file, str(_FIRST).encode())
        finally:
            os.close(file)
