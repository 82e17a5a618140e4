"""Lowering resident bytes: code pages that start-up touched and training does not need.

Importing torch runs thousands of static initialisers (operator registrations above all). Each touches a page of a
library of 400 MB, the kernel maps fifteen neighbours along with it, and none of them is needed again. They are clean
copies of files: dropping them costs nothing but a soft fault where one is touched after all. On a device with a budget
of a few hundred MiB they are the largest saving there is.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from planner.system.memory import cgroup_limit_bytes

_MADV_DONTNEED = 4
_MADV_COLD = 20
_MAP_FAILED = ctypes.c_void_p(-1).value
_WINDOW_BYTES = 64 << 10
"""What Linux maps around a page that is touched: a folio no larger makes nothing more resident."""
_PART_BYTES = 8 << 20
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

    Their pages in the page cache are made small first (`split_torch_libraries`).

    torch itself is not imported. Libraries that are missing or cannot be loaded are skipped: the import that follows
    loads them, or raises the error.
    """
    libraries = _torch_libraries()
    if libraries is None:
        return
    split_torch_libraries()
    # The same two names and modes as torch's own import, which then finds them loaded.
    for name, mode in (("libtorch_global_deps.so", ctypes.RTLD_GLOBAL), ("libtorch_cpu.so", ctypes.RTLD_LOCAL)):
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(libraries / name), mode=mode)
    trim_clean_pages()


def split_torch_libraries() -> None:
    """Have every page of torch's libraries that is in the page cache lie there by itself, not in a large folio.

    A file that was written or read from its beginning to its end, as an installation or a backup does, is cached in
    folios of up to 2 MiB, and Linux maps a folio whole when one page of it is touched (since 6.18): a training process
    is then 60-150 MiB larger, importing torch peaks at 450 MiB, and what a plan was made for depends on what was done
    with a file before. Small pages are mapped 16 at a time. Nothing is read or written, and no page leaves the cache:
    that would be read again, which counts against a container's limit, and where storage reads ahead by megabytes
    would push out others that are needed, without end.

    A folio that another process maps stays as it is. One that only this process maps is split under it: a program that
    has imported torch becomes 120 MB smaller. Who may not ask which pages are cached (neither the file's owner
    nor allowed to write it) has the file taken out of the page cache instead, but not under a container's limit.
    Imports nothing.
    """
    libraries = _torch_libraries()
    if libraries is not None:
        for name in ("libtorch_cpu.so", "libtorch_python.so"):
            with contextlib.suppress(OSError, AttributeError):
                _have_small_pages(libraries / name)


def _torch_libraries() -> Path | None:
    spec = find_spec("torch")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "lib"


def hide_numpy() -> None:
    """Make `import numpy` fail from here on, in this process only; call it before torch is imported.

    torch imports numpy whenever it is installed and keeps 12-17 MiB for it, though no tensor needs it. torch warns
    "Failed to initialize NumPy" when it is missing: the caller, who knows it is meant, filters that warning.
    """
    sys.modules["numpy"] = None  # type: ignore[assignment]  # Python's own way to forbid an import


def _have_small_pages(file: Path) -> None:
    """Raise OSError or AttributeError where the file or the means are not there."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        found = os.fstat(descriptor)
        os.fsync(descriptor)  # a page still to be written, as after an installation, can be neither split nor evicted
        if found.st_uid == os.geteuid() or os.access(file, os.W_OK):
            _split_folios(descriptor, found.st_size)
        elif cgroup_limit_bytes() is None:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _split_folios(descriptor: int, size_bytes: int) -> None:
    """Split the large folios that a file's cached pages lie in.

    Linux splits a folio when advice (MADV_COLD, which only makes pages the first to be reclaimed) is for a part of it,
    and goes on with the pages that this process maps. So a page of every window is touched, if it is cached, and
    advised alone. A part of the file at a time: what was touched is resident until it is unmapped.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    page_bytes = mmap.PAGESIZE
    step = max(1, _WINDOW_BYTES // page_bytes)
    for offset in range(0, size_bytes, _PART_BYTES):
        part_bytes = min(_PART_BYTES, size_bytes - offset)
        address = libc.mmap(None, part_bytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, offset)
        if address in (None, _MAP_FAILED):
            raise OSError(ctypes.get_errno(), "mmap")
        cached = ctypes.create_string_buffer(-(-part_bytes // page_bytes))
        libc.mincore(address, part_bytes, cached)
        for page in range(0, len(cached), step):
            if cached[page][0] & 1:
                ctypes.string_at(address + page * page_bytes, 1)
                libc.madvise(address + page * page_bytes, page_bytes, _MADV_COLD)
        libc.munmap(address, part_bytes)


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
