"""Huge pages: what the kernel's files say, and what the kernel does in real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from planner.system import pages
from planner.system.pages import huge_pages
from tests.unit.system.support import python, run_child

FOLDER = "sys/kernel/mm/transparent_hugepage"

# No test changes a setting of the whole machine: where the kernel gives huge pages to those who ask, this child asks.
# `always` is what it is told that the setting is; who gets huge pages is the kernel's own doing.
TOUCH = """
    import ctypes, json, mmap, sys
    from planner.system import allocator, pages
    from planner.system.proc import read_memory
    pages.huge_pages = lambda: "always"
    exec(sys.argv[1])
    with mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.madvise(mmap.MADV_HUGEPAGE)
        before = read_memory().anonymous_bytes
        for start in range(0, len(block), 4 * 2**20):
            block[start + 2**20] = 1
        print(json.dumps(read_memory().anonymous_bytes - before))
"""

on_request = pytest.mark.skipif(
    huge_pages() not in ("always", "madvise"), reason="this kernel has no huge pages to give"
)

ENABLED = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('THP_enabled')][0])"


@pytest.fixture(autouse=True)
def _as_a_process_begins() -> None:
    """Tests that train in this process may have left it without huge pages, and children inherit that."""
    assert pages._prctl(pages._PR_SET_THP_DISABLE, 0) == 0


def _enabled(*wrapper: str) -> str:
    """The kernel's word on whether a process that is started now may have huge pages."""
    return subprocess.run([*wrapper, *python(ENABLED)], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("word", ["always", "madvise", "never"])
def test_the_kernels_choice_is_read(tmp_path: Path, word: str) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    words = ["always", "madvise", "never"]
    (folder / "enabled").write_text(" ".join(f"[{each}]" if each == word else each for each in words) + "\n")
    assert huge_pages(tmp_path) == word
    (folder / "hugepages-64kB").mkdir()
    size = folder / "hugepages-64kB/enabled"
    size.write_text("always [inherit] madvise never\n")
    assert huge_pages(tmp_path) == word
    size.write_text("[always] inherit madvise never\n")
    assert huge_pages(tmp_path) == "always"


def test_a_kernel_without_them_has_none(tmp_path: Path) -> None:
    assert huge_pages(tmp_path) is None


@on_request
@pytest.mark.parametrize(
    ("setting", "huge"),
    [
        ("pass", True),
        ("pages.allow_huge_pages(False)", False),
        ("pages.allow_huge_pages(False); pages.allow_huge_pages(True)", True),
        ("allocator.apply_policy('tight')", False),
        ("allocator.apply_policy('fast')", False),
    ],
)
def test_a_process_that_goes_without_has_what_it_touches_and_no_more(setting: str, huge: bool) -> None:
    """Sixteen bytes, each in a huge page of its own."""
    grown = run_child(TOUCH, setting)
    assert grown > 16 * 2**20 if huge else grown < 2**20


def test_where_nobody_gets_them_unasked_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "huge_pages", lambda: "madvise")
    with pages.without_huge_pages():
        assert _enabled() == "1"


def test_a_program_started_within_and_what_it_starts_go_without_from_the_first_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "huge_pages", lambda: "always")
    again = (sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)")
    with pages.without_huge_pages():
        assert _enabled() == _enabled(*again) == "0"
        with pages.without_huge_pages():
            pass
        assert _enabled() == "0"
    assert _enabled() == "1"
