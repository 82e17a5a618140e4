"""Whom the kernel kills when memory runs out."""

from __future__ import annotations

import contextlib
from pathlib import Path

_FIRST = 1000
"""The highest score there is: as if the process held all memory. Raising one's own, or a child's, needs no rights."""


def kill_first(pid: int) -> None:
    """Have the kernel kill process `pid`, and what it starts from here on, before anybody else's process.

    Where /proc is not to be had, or the process has ended, nothing happens.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(_FIRST))
