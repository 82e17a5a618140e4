"""Resident pages by kind, of a made-up process and of a real one."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from planner.system.mappings import read_mapped
from tests.unit.system.support import run_child

MIB = 2**20


def _smaps(*mappings: tuple[int, int, str, str, int]) -> str:
    """Start and end in MiB, permissions, path, resident KiB; with the fields around that a kernel writes."""
    lines = []
    for start, end, permissions, path, resident in mappings:
        lines.append(
            f"{start * MIB:x}-{end * MIB:x} {permissions} 00000000 08:01 1234      {path}\n".replace(" \n", "\n")
        )
        lines += [f"Size: {(end - start) * 1024} kB\n", f"Rss: {resident} kB\n", "Pss: 1 kB\n", "VmFlags: rd wr\n"]
    return "".join(lines)


def test_every_mapping_counts_once_and_by_its_kind(tmp_path: Path) -> None:
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    size = 8 if stack == resource.RLIM_INFINITY else stack // MIB
    guard = f"{100 * MIB:x}-{100 * MIB + 4096:x} ---p 00000000 00:00 0\nSize: 4 kB\nRss: 0 kB\n"
    thread = f"{100 * MIB + 4096:x}-{(100 + size) * MIB:x} rw-p 00000000 00:00 0\nRss: 12 kB\n"
    text = _smaps((1, 3, "r-xp", "/lib/torch/libtorch.so", 1000), (3, 4, "rw-p", "/lib/torch/libtorch.so", 24))
    text += _smaps((5, 6, "r-xp", "/usr/bin/python3 (deleted)", 300), (7, 9, "rw-p", "[heap]", 512))
    text += guard + thread
    text += _smaps(
        (200, 201, "rw-p", "", 40), (300, 308, "rw-p", "[stack]", 64), (310, 311, "r-xp", "/lib/torchlike.so", 7)
    )
    path = tmp_path / "smaps"
    path.write_text(text)
    found = read_mapped(Path("/lib/torch"), path)
    assert found.folder_bytes == 1024 * 1024
    assert found.other_file_bytes == 307 * 1024
    assert found.anonymous_bytes == 552 * 1024
    assert found.stack_bytes == 76 * 1024


def test_a_guard_of_another_size_is_no_stack(tmp_path: Path) -> None:
    path = tmp_path / "smaps"
    path.write_text(_smaps((1, 2, "---p", "", 0), (2, 9, "rw-p", "", 40)))
    assert read_mapped(Path("/nowhere"), path).anonymous_bytes == 40 * 1024


@pytest.mark.parametrize("touched", [0, 4])
def test_of_a_real_process_the_sum_is_what_the_kernel_calls_resident(touched: int) -> None:
    found = run_child(
        f"""
import threading
from pathlib import Path
from planner.system.mappings import read_mapped
from planner.system.proc import read_memory

def deep(count):
    if count:
        deep(count - 1)

read_mapped(Path("/nowhere"))
before = read_mapped(Path("/nowhere"))
stop, ready = threading.Event(), threading.Event()
def wait():
    ready.set()
    stop.wait()
threads = [threading.Thread(target=wait) for _ in range({touched})]
for thread in threads:
    thread.start()
after, resident = read_mapped(Path("/nowhere")), read_memory().resident_bytes
stop.set()
total = after.folder_bytes + after.other_file_bytes + after.stack_bytes + after.anonymous_bytes
print([total, resident, after.stack_bytes - before.stack_bytes])
"""
    )
    total, resident, stacks = found
    assert total == pytest.approx(resident, abs=MIB)
    assert (stacks > 0) == (touched > 0)


def test_malloc_says_what_it_holds() -> None:
    found = run_child(
        """
from planner.system.allocator import apply_policy, heap_use
apply_policy("tight")
before = heap_use()
big = bytearray(3 * 2**20)
small = [bytearray(1000) for _ in range(5000)]
after = heap_use()
small = small[::2]
last = heap_use()
arena = after.arena_bytes - before.arena_bytes
print([after.mapped_bytes - before.mapped_bytes, arena, last.free_bytes - after.free_bytes])
"""
    )
    mapped, arena, free = found
    assert mapped == pytest.approx(3 * MIB, abs=8192)
    assert arena == pytest.approx(5000 * 1000, rel=0.2)
    assert free == pytest.approx(2500 * 1000, rel=0.2)
