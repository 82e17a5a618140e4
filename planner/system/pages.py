"""Huge pages: whether the kernel gives them to those who did not ask, and how a process goes without.

Where it does (`always`), every 2 MiB of a mapping become resident when the first byte is touched: 48 tensors of 1 MiB
took 74 MiB. What is resident then no longer follows what is live, and no limit on mapped memory helps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.schema.common import HugePages
from planner.system.hierarchy import FILESYSTEM_ROOT, read_value

_PR_SET_THP_DISABLE = 41
_PR_GET_THP_DISABLE = 42


def huge_pages(root: Path = FILESYSTEM_ROOT) -> HugePages | None:
    """Say to whom the kernel gives huge pages, of whatever size; None where it has none."""
    folder = root / "sys/kernel/mm/transparent_hugepage"
    overall = _chosen(folder / "enabled")
    # Sizes have settings of their own (Linux 6.8), most of which follow the overall one, or are off.
    sizes = {_chosen(file) for file in folder.glob("hugepages-*/enabled")}
    if "always" in sizes:
        return "always"
    return overall


def allow_huge_pages(allowed: bool) -> bool:
    """Have this process, and those that it starts, go without huge pages from here on, or no longer so.

    Nothing is changed where the kernel gives them to nobody who did not ask. Pages that are there stay what they are.
    True where it is so now.
    """
    if huge_pages() != "always":
        return True
    return _prctl(_PR_SET_THP_DISABLE, 0 if allowed else 1) == 0


@contextmanager
def without_huge_pages() -> Iterator[None]:
    """Within this, processes that are started have no huge pages from their first moment on; they pass that on.

    This process goes without meanwhile, and is then as it was: what lasts over the start of a program is inherited.
    """
    before = _prctl(_PR_GET_THP_DISABLE, 0)
    allow_huge_pages(False)
    try:
        yield
    finally:
        if before == 0:
            allow_huge_pages(True)


def _prctl(option: int, value: int) -> int:
    return int(ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0))))


def _chosen(file: Path) -> HugePages | None:
    """The word in brackets: `always [madvise] never`."""
    words = (read_value(file) or "").split()
    if "[always]" in words:
        return "always"
    if "[madvise]" in words:
        return "madvise"
    return "never" if "[never]" in words else None
