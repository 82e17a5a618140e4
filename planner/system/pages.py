"""Transparent huge pages: whether the kernel gives them to everybody, and how a process does without.

Where it does (`always`), every 2 MiB of a mapping become resident when the first byte is touched: 48 tensors of 1 MiB
took 74 MiB. Resident bytes then no longer follow live bytes, and no limit on mapped memory helps.
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
    """Who gets huge pages of any size: everybody ("always"), who asks ("madvise"), nobody; None: there are none."""
    folder = root / "sys/kernel/mm/transparent_hugepage"
    overall = _chosen(folder / "enabled")
    # Sizes have settings of their own (Linux 6.8), most of which follow the overall one, or are off.
    sizes = {_chosen(file) for file in folder.glob("hugepages-*/enabled")}
    if "always" in sizes:
        return "always"
    return overall


def huge_page_bytes(root: Path = FILESYSTEM_ROOT) -> int | None:
    """Size of a huge page; None: there are none."""
    text = read_value(root / "sys/kernel/mm/transparent_hugepage/hpage_pmd_size") or ""
    return int(text) if text.isdigit() else None


def allow_huge_pages(allowed: bool) -> bool:
    """Switch huge pages off, or on again, for this process and those that it starts (PR_SET_THP_DISABLE).

    Nothing changes where the kernel gives them only to those who ask. Pages that exist stay as they are.

    Returns:
        Whether the setting is as wanted now.
    """
    if huge_pages() != "always":
        return True
    return _prctl(_PR_SET_THP_DISABLE, 0 if allowed else 1) == 0


@contextmanager
def without_huge_pages() -> Iterator[None]:
    """Processes that are started in the `with` block have no huge pages from their start on, nor have their children.

    The setting is inherited, so this process does without meanwhile; afterwards it is as before.
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
