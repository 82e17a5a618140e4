"""Lowering resident bytes: code pages that start-up touched and training does not need.

Importing torch runs thousands of static initialisers (operator registrations above all). Each touches a page of a
library of 400 MB, the kernel maps fifteen neighbours along with it, and none of them is needed again. They are clean
copies of files: dropping them costs nothing but a soft fault where one is touched after all. On a device with a budget
of a few hundred MiB they are the largest saving there is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from planner.system.memory import cgroup_limit_bytes

_MADV_DONTNEED = 4
_UPPER_A, _UPPER_R, _LOWER_A = b"ARa"


def trim_clean_pages() -> int:
    """Drop every page of this process that is a clean copy of a file (MADV_DONTNEED).

    Only mappings of files that are not writable and of which no page was ever copied (`Anonymous: 0`) are dropped, so
    nothing is lost: the next touch brings a page back from the page cache, or from storage where that was evicted too.
    Relocated data (GOT, vtables) has been copied and is left alone. Pages in use come back at once.

    Call it while no other thread loads a library, since the loader could make a mapping writable between the look and
    the drop.

    Returns:
        Bytes dropped; resident bytes fall by a little less. 0 where there is no /proc/self/smaps or no madvise.
    """
    try:
        with Path("/proc/self/smaps").open("rb") as smaps:
            droppable = list(_clean_file_mappings(smaps))
        madvise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return 0
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    madvise.restype = ctypes.c_int
    return sum(
        resident_bytes for start, end, resident_bytes in droppable if madvise(start, end - start, _MADV_DONTNEED) == 0
    )


def preload_torch_libraries() -> None:
    """Load torch's libraries ahead of `import torch` and drop the pages their static initialisers touched.

    The initialisers' pages and the pages that the Python half of the import touches are then never resident together:
    the import peaks at about 40-60 MiB less (a peak counts for the budget, even one that lasts milliseconds).

    They are evicted from the page cache first (`evict_torch_libraries`), but not under a container's limit: what is
    read again would count against it, and where storage reads ahead by megabytes (8 MiB on the machine this was seen
    on) every page then pushes out others that are needed, without end.

    torch itself is not imported. Libraries that are missing or cannot be loaded are skipped: the import that follows
    loads them, or raises the error.
    """
    libraries = _torch_libraries()
    if libraries is None:
        return
    if cgroup_limit_bytes() is None:
        evict_torch_libraries()
    # The same two names and modes as torch's own import, which then finds them loaded.
    for name, mode in (("libtorch_global_deps.so", ctypes.RTLD_GLOBAL), ("libtorch_cpu.so", ctypes.RTLD_LOCAL)):
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(libraries / name), mode=mode)
    trim_clean_pages()


def evict_torch_libraries() -> None:
    """Take torch's libraries out of the page cache, to be read anew by the faults that need them.

    A file that was just installed or copied sits there in large pieces, and Linux 6.18 maps a piece whole when one page
    of it is touched: a training process is then 60-150 MiB larger, and importing torch peaks at 450 MiB. Reading anew
    costs about 100 MB once. Pages that another process maps stay where they are. Imports nothing.
    """
    libraries = _torch_libraries()
    if libraries is not None:
        for name in ("libtorch_cpu.so", "libtorch_python.so"):
            _evict_from_page_cache(libraries / name)


def _torch_libraries() -> Path | None:
    spec = find_spec("torch")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "lib"


def hide_numpy() -> None:
    """Make `import numpy` fail from here on, in this process only; call it before torch is imported.

    torch imports numpy whenever it is installed and keeps 12-17 MiB for it, though no tensor needs it. torch warns
    "Failed to initialize NumPy" when it is missing: the caller, who knows it is meant, filters that warning.
    """
    sys.modules["numpy"] = None  # type: ignore[assignment]  # Python's own way to forbid an import


def _evict_from_page_cache(file: Path) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(file, os.O_RDONLY)
        try:
            os.fsync(fd)  # a page still to be written, as after an installation, stays
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def _clean_file_mappings(smaps: Iterable[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, resident bytes) of each mapping that may be dropped; `smaps` is the lines of the file."""
    header = b""
    resident_bytes = 0
    # Thousands of lines are looked at several times in a step: by the first letter, which Rss, AnonHugePages and
    # Anonymous share with few others, and a header, being hexadecimal, with none.
    for line in smaps:
        first = line[0]
        if first >= _LOWER_A or first < _UPPER_A:
            header = line
        elif first == _UPPER_R:
            if line.startswith(b"Rss:"):
                resident_bytes = int(line[4:-3]) * 1024
        elif first == _UPPER_A and resident_bytes and line.startswith(b"Anonymous:") and int(line[10:-3]) == 0:
            words = header.split(maxsplit=5)
            if _is_unwritable_file(words):
                start, _, end = words[0].partition(b"-")
                yield int(start, 16), int(end, 16), resident_bytes


def _is_unwritable_file(header: list[bytes]) -> bool:
    """Tell from a mapping's header line (address, permissions, offset, device, inode, path)."""
    return len(header) == 6 and b"w" not in header[1] and header[4] != b"0" and header[5].startswith(b"/")
