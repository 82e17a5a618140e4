"""Which allocator serves this process, and how eagerly it gives memory back to the kernel."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from planner.schema.common import Allocator, Policy
from planner.system.hierarchy import FILESYSTEM_ROOT
from planner.system.pages import allow_huge_pages, forbid_huge_pages, huge_page_bytes, huge_pages, huge_pages_for_growth
from planner.units import MIB

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_TIGHT_MMAP_THRESHOLD_BYTES = 64 * 1024

_MIMALLOC_AS_NEEDED: Mapping[str, str] = {
    "MIMALLOC_DISALLOW_ARENA_ALLOC": "1",
    "MIMALLOC_EAGER_COMMIT": "0",
    "MIMALLOC_ALLOW_THP": "0",
}
_MIMALLOC: Mapping[Policy, Mapping[str, str]] = {
    "tight": {**_MIMALLOC_AS_NEEDED, "MIMALLOC_PURGE_DELAY": "0"},
    "fast": _MIMALLOC_AS_NEEDED,
    "huge": _MIMALLOC_AS_NEEDED,
}
"""Variables that mimalloc reads (2.1 and later, the last one from 2.3 on, which asks for huge pages), by policy."""

_TUNABLES = "GLIBC_TUNABLES"
_ASK_FOR_HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""glibc asks for huge pages for its heap, which it grows by whole ones, and for large blocks (2.35 and later)."""

_LEAST_GLIBC = (2, 35)
_LARGEST_HUGE_PAGE_BYTES = 4 * MIB
"""Where small pages have 64 KiB a huge one has 512 MiB, and one of them would be a budget."""


def apply_policy(policy: Policy) -> bool:
    """Set how this process's allocator trades memory for time. Call it before tensors exist.

    `tight`: every block from 64 KiB on is its own mapping, which goes back to the kernel the moment it is freed, and
    the heap's free top goes back at once. Resident bytes then follow live bytes within a few per cent, where glibc's
    default keeps 20-100 % more; the price is a page fault for every page of every new block. The number of arenas stays
    glibc's own choice: one arena for all threads changed the peak of a training step by less than 0.4 MiB, for blocks
    that large are mapped outside of arenas anyway.

    `fast`: the allocator's defaults stay. A process cannot return from `tight`, since setting a threshold at all
    switches off glibc's own adaptation; a run whose policy changes needs a new process.

    `huge`: the same with the heap in huge pages, which the kernel gives to who asks: hundreds of times fewer page
    faults, and what is freed is cheap to take again. glibc reads that it is to ask before the program begins
    (`variables_to_begin_with`); it is given them while steps are taken (`taking_steps`).

    Where torch brings mimalloc (aarch64), it serves tensors, glibc everything else. mimalloc reads its variables when
    torch is loaded; those set here take the place of a person's own. Under either policy it has to map what it needs as
    it needs it: by default it maps a GiB at once, so that no limit on mapped memory would ever refuse anything. Under
    `tight` it gives back at once.

    Under no policy does the kernel give huge pages that nobody asked for (`planner.system.pages`).

    Returns:
        Whether the policy is in force now: False for allocators that have nothing to set, and where `huge` pages are
        not to be had or were not asked for when the program began.
    """
    allow_huge_pages(False)
    if detect() == "mimalloc":
        os.environ.update(_MIMALLOC[policy])
    if policy == "fast":
        return True
    if policy == "huge":
        forbid_huge_pages()  # until steps are taken
        return offers_huge_pages() and not variables_to_begin_with(policy)
    if _owner_of_malloc() != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(_M_MMAP_THRESHOLD, _TIGHT_MMAP_THRESHOLD_BYTES), mallopt(_M_TRIM_THRESHOLD, 0)]
    return all(done)


def variables_to_start_with() -> Mapping[str, str]:
    """Environment variables for a child, so that a limit on mapped memory (RLIMIT_DATA) binds it.

    They are for a preloaded mimalloc (LD_PRELOAD), which reads them before the program begins. The one that torch
    brings is configured by `apply_policy`, in time.
    """
    return _MIMALLOC_AS_NEEDED if _owner_of_malloc() == "mimalloc" else {}


def taking_steps(policy: Policy) -> AbstractContextManager[None]:
    """A `with` block in which a network takes steps: under `huge`, the heap grows by huge pages in it alone."""
    return huge_pages_for_growth() if policy == "huge" and offers_huge_pages() else nullcontext()


def variables_to_begin_with(policy: Policy) -> Mapping[str, str]:
    """Environment variables that this program lacks and has to begin with, so that the policy can be in force."""
    given = os.environ.get(_TUNABLES, "")
    if policy != "huge" or not offers_huge_pages() or _ASK_FOR_HUGE_PAGES in given.split(":"):
        return {}
    return {_TUNABLES: ":".join(filter(None, (given, _ASK_FOR_HUGE_PAGES)))}


def offers_huge_pages(root: Path = FILESYSTEM_ROOT) -> bool:
    """Whether `huge` can be in force here: glibc serves tensors and asks for huge pages where it is told to, and the
    kernel gives them to who asks, and to nobody else, in a size that a heap may well be rounded up to.
    """
    if detect() != "glibc" or _glibc_version() < _LEAST_GLIBC or huge_pages(root) != "madvise":
        return False
    return 0 < (huge_page_bytes(root) or 0) <= _LARGEST_HUGE_PAGE_BYTES


def offered_policies() -> tuple[Policy, ...]:
    """The policies that this device has, the one that profiles are taken under first."""
    return ("tight", "fast", "huge") if offers_huge_pages() else ("tight", "fast")


def _glibc_version() -> tuple[int, ...]:
    """Of `glibc 2.36`; (0,) elsewhere."""
    try:
        _, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        version = ""
    numbers = version.split(".")
    return tuple(map(int, numbers)) if all(number.isdigit() for number in numbers) else (0,)


def release() -> bool:
    """Give every free page of glibc's heaps back to the kernel (`malloc_trim(0)`).

    The mimalloc that torch brings is out of reach, since it exports nothing. There `tight` leaves nothing to give back,
    and `fast` only what was freed in the last hundredth of a second.

    Returns:
        Whether some pages went; False under any other allocator.
    """
    if _owner_of_malloc() != "glibc":
        return False
    malloc_trim = ctypes.CDLL(None).malloc_trim
    malloc_trim.argtypes = [ctypes.c_size_t]
    return bool(malloc_trim(0))


@dataclass(frozen=True)
class HeapUse:
    """What glibc's malloc has from the kernel, over all arenas (`mallinfo2`)."""

    arena_bytes: int
    """Heaps, allocated blocks and free ones."""
    free_bytes: int
    """Free blocks in the heaps."""
    mapped_bytes: int
    """Allocated blocks that have a mapping of their own."""

    @property
    def held_bytes(self) -> int:
        """Bytes from the kernel, allocated or free."""
        return self.arena_bytes + self.mapped_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes of allocated blocks."""
        return self.held_bytes - self.free_bytes


def heap_use() -> HeapUse | None:
    """What malloc has from the kernel now; None without `mallinfo2` (glibc before 2.33, other C libraries)."""
    if _owner_of_malloc() != "glibc":
        return None
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    mallinfo.restype = _MallocInfo
    found = mallinfo()
    return HeapUse(found.arena, found.fordblks, found.hblkhd)


class _MallocInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
        )
    )  # fmt: skip


def detect() -> Allocator:
    """The allocator that serves tensors: the one in torch's build, else the one behind `malloc`."""
    return "mimalloc" if _torch_brings_mimalloc() else _owner_of_malloc()


@cache
def _owner_of_malloc() -> Allocator:
    """The allocator whose library `malloc` lies in: the C library's own, or one that was preloaded over it.

    Cached: it cannot change while the process lives, and looking takes a megabyte for a short time.
    """
    process = ctypes.CDLL(None)
    try:
        address = ctypes.cast(process.malloc, ctypes.c_void_p).value or 0
        files = _mapped_files()
        executable = str(Path("/proc/self/exe").readlink())
    except (AttributeError, OSError):
        return "unknown"
    file = next((file for start, end, file in files if start <= address < end), "")
    library = Path(file).name
    if file == executable:
        # An executable at a fixed address (Debian's python3) has an entry of its own that leads to whoever answers.
        names = (Path(other).name for _, _, other in files)
        others = (name for name in names if any(known in name for known in ("mimalloc", "jemalloc", "tcmalloc")))
        library = next(others, "libc.so.6")
    if "mimalloc" in library:
        return "mimalloc"
    if "musl" in library:
        return "musl"
    if library.startswith(("libc.so", "libc-")) and hasattr(process, "gnu_get_libc_version"):
        return "glibc"
    return "unknown"


def _mapped_files() -> list[tuple[int, int, str]]:
    """(start address, end address, absolute path) of every file mapping of this process, from /proc/self/maps."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as maps:
        lines = [line.rstrip("\n").split(maxsplit=5) for line in maps]
    spans = [(line[0].partition("-"), line[5]) for line in lines if len(line) == 6]
    return [(int(start, 16), int(end, 16), file) for (start, _, end), file in spans]


def _torch_brings_mimalloc() -> bool:
    """Whether torch's libc10 holds mimalloc's messages: linked statically, it exports no symbol. Imports no torch."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        with (
            (Path(spec.origin).parent / "lib" / "libc10.so").open("rb") as library,
            mmap.mmap(library.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return content.find(b"mimalloc") >= 0
    except (OSError, ValueError):
        return False
