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
_MADV_NOHUGEPAGE = 15


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


def forbid_huge_pages() -> None:
    """Take no huge pages from here on, and none in programs that take this one's place, though they are asked for."""
    _prctl(_PR_SET_THP_DISABLE, 1)


@contextmanager
def huge_pages_for_growth() -> Iterator[None]:
    """In the `with` block, let what asks for huge pages have them, but for the heap as it is now (`forbid_huge_pages`).

    A heap has holes that were given back to the kernel. They would become resident again two MiB at a time, by a touch
    or by the kernel's own collecting (khugepaged), and nothing that is counted knows of that. What the heap grows by is
    in use or was a moment ago. Afterwards no page is made huge any more, so that what is given back stays so.
    """
    for start, end in _heap():
        _madvise(start, end - start, _MADV_NOHUGEPAGE)
    _prctl(_PR_SET_THP_DISABLE, 0)
    try:
        yield
    finally:
        _prctl(_PR_SET_THP_DISABLE, 1)


def _heap() -> Iterator[tuple[int, int]]:
    """Start and end of what the heap has grown to, piece by piece."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            if line.rstrip("\n").endswith("[heap]"):
                start, _, end = line.split(maxsplit=1)[0].partition("-")
                yield int(start, 16), int(end, 16)


def _madvise(start: int, length: int, advice: int) -> int:
    call = ctypes.CDLL(None).madvise
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return int(call(start, length, advice))


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
