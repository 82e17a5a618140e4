from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import re
from pathlib import Path

import pytest

from planner.system.resident import trim_clean_pages
from tests.unit.system.support import MIB, environment, run_child

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch installed")
PAGE = mmap.PAGESIZE

STEP = """
    import json, re, sys
    from planner.system import resident
    from planner.system.proc import read_memory

    def step():
        torch.manual_seed(1)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        net(torch.randn(4, 3, 16, 16)).square().sum().backward()
        return [p.grad for p in net.parameters()]

    def droppable():
        "Resident bytes of the mappings that a trim may drop, by regular expressions."
        text = open("/proc/self/smaps").read()
        found = re.findall(r"^[0-9a-f]+-[0-9a-f]+ (\\S+) \\S+ \\S+ \\d+ +(/.*)?\\n((?:[A-Z]\\w+: .*\\n)+)", text, re.M)
        return sum(int(re.search(r"^Rss: +(\\d+)", body, re.M)[1]) * 1024 for flags, path, body in found
                   if "w" not in flags and path and re.search(r"^Anonymous: +0 kB", body, re.M))
"""


@needs_torch
def test_a_trim_drops_what_it_says_and_changes_no_result() -> None:
    code = (
        STEP
        + """
    import torch
    torch.set_num_threads(1)
    first = step()
    could = droppable()
    before = read_memory()
    dropped = resident.trim_clean_pages()
    after = read_memory()
    left = droppable()
    second = step()
    equal = all(map(torch.equal, first, second))
    print(json.dumps([could, dropped, before.file_bytes - after.file_bytes, left,
                      before.anonymous_bytes - after.anonymous_bytes, equal]))
    """
    )
    could, dropped, decrease, left, anonymous, equal = run_child(code)
    assert equal is True
    assert dropped > 20 * MIB
    assert dropped == pytest.approx(could, abs=4 * MIB)
    assert dropped == pytest.approx(decrease + left, abs=4 * MIB)  # `left` has come back since: the pages in use
    assert left < dropped / 2
    assert abs(anonymous) < MIB


@needs_torch
def test_preloading_lowers_the_peak_of_the_import() -> None:
    code = (
        STEP
        + """
    if sys.argv[1] == "preload":
        resident.preload_torch_libraries()
    early = "torch" in sys.modules, "libtorch_cpu.so" in open("/proc/self/maps").read()
    import torch
    peak = read_memory().peak_bytes
    print(json.dumps([*early, peak, [float(g.sum()) for g in step()]]))
    """
    )
    imported, mapped, plain_peak, plain_gradients = run_child(code, "plain")
    assert (imported, mapped) == (False, False)
    imported, mapped, peak, gradients = run_child(code, "preload")
    assert (imported, mapped) == (False, True)
    assert peak < plain_peak - 16 * MIB
    assert gradients == plain_gradients


@needs_torch
@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="needs numpy installed, to hide it")
def test_without_numpy_torch_works_and_none_of_it_is_mapped() -> None:
    code = (
        STEP
        + """
    if sys.argv[1] == "hide":
        resident.hide_numpy()
    import torch
    gradients = [float(g.sum()) for g in step()]
    try:
        import numpy
        importable = True
    except ImportError:
        importable = False
    print(json.dumps([importable, "/numpy/" in open("/proc/self/maps").read(), gradients]))
    """
    )
    importable, mapped, gradients = run_child(code, "keep")
    assert (importable, mapped) == (True, True)
    assert run_child(code, "hide") == [False, False, gradients]


@pytest.mark.parametrize("who", ["for itself", "for a child"])
def test_a_library_cached_in_large_folios_is_split_and_stays_cached(tmp_path: Path, who: str) -> None:
    """As an installation or a backup leaves it. Linux 6.18 maps a folio whole when one page of it is touched.

    A program that has torch maps it already: no child that it starts could split it.
    """
    library = tmp_path / "torch" / "lib" / "libtorch_cpu.so"
    library.parent.mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    library.write_bytes(bytes(32 * MIB))
    with library.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while file.read(MIB):
            pass
    code = """
        import json, mmap, os, re, subprocess, sys
        from planner.system import resident
        from planner.system.child import ChildProcess

        def touched():
            "Resident bytes of a new mapping of which a page of every MiB was touched."
            with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                for offset in range(0, len(mapped), 1 << 20):
                    mapped[offset]
                smaps = open("/proc/self/smaps").read().split(sys.argv[1])[1]
                return 1024 * int(re.search(r"^Rss: +(\\d+) kB", smaps, re.M)[1])

        def cached():
            "Bytes that can be had without reading storage."
            with open(sys.argv[1], "rb") as file:
                return os.preadv(file.fileno(), [bytearray(32 << 20)], 0, os.RWF_NOWAIT)

        before, cached_before = touched(), cached()
        if sys.argv[2] == "for itself":
            resident.split_torch_libraries()
        else:
            import torch
            library = open(sys.argv[1], "rb")
            mapped = mmap.mmap(library.fileno(), 0, prot=mmap.PROT_READ)
            mapped[0]
            with ChildProcess(["-c", "pass"], subprocess.DEVNULL) as child:
                child.process.wait()
        print(json.dumps([before, touched(), cached_before, cached()]))
    """
    before, after, *cached = run_child(code, str(library), who, env=environment(tmp_path))
    around = 64 << 10
    assert after <= 32 * around
    assert cached == [32 * MIB] * 2
    if before <= 32 * around:
        pytest.skip("needs a kernel that maps large folios whole and a file system that makes them, to show more")


@pytest.mark.parametrize("library", [None, b"", b"not a library"])
def test_preloading_skips_what_is_not_there(tmp_path: Path, library: bytes | None) -> None:
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    if library is not None:
        (tmp_path / "torch" / "lib" / "libtorch_cpu.so").write_bytes(library)
    code = "from planner.system import resident; resident.preload_torch_libraries(); print(1)"
    assert run_child(code, env=environment(tmp_path)) == 1


def test_preloading_without_torch_does_nothing() -> None:
    code = """
        import sys
        sys.path = [entry for entry in sys.path if "site-packages" not in entry]
        import importlib.util
        assert importlib.util.find_spec("torch") is None
        from planner.system import resident
        resident.preload_torch_libraries()
        print(int("libtorch" not in open("/proc/self/maps").read()))
    """
    assert run_child(code) == 1


def resident_bytes(address: int) -> int:
    """Resident bytes of the mapping that begins at `address`."""
    smaps = Path("/proc/self/smaps").read_text()
    found = re.search(rf"^0*{address:x}-[^\n]*\n(?:[A-Z]\w+:[^\n]*\n)*?Rss: +(\d+) kB", smaps, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


class Mapping:
    """Four pages of a file, mapped through libc, since Python's own mmap hides the address of a read-only mapping."""

    SIZE = 4 * PAGE

    def __init__(self, file: Path, protection: int, flags: int) -> None:
        self.content = os.urandom(self.SIZE)
        file.write_bytes(self.content)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.mmap.restype = ctypes.c_void_p
        self.libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self.libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self.libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        with file.open("r+b") as opened:
            self.address: int = self.libc.mmap(None, self.SIZE, protection, flags, opened.fileno(), 0)

    def read(self) -> bytes:
        return ctypes.string_at(self.address, self.SIZE)

    def close(self) -> None:
        self.libc.munmap(self.address, self.SIZE)


def test_a_clean_mapping_is_dropped_and_reads_the_same_again(tmp_path: Path) -> None:
    mapping = Mapping(tmp_path / "file", mmap.PROT_READ, mmap.MAP_PRIVATE)
    assert mapping.read() == mapping.content
    assert resident_bytes(mapping.address) == mapping.SIZE
    assert trim_clean_pages() >= mapping.SIZE
    assert resident_bytes(mapping.address) == 0
    assert mapping.read() == mapping.content
    mapping.close()


def test_a_page_that_was_written_before_it_was_protected_is_kept(tmp_path: Path) -> None:
    """What the loader does to relocated data: copy on write, then read-only. Dropping it would undo the relocation."""
    mapping = Mapping(tmp_path / "file", mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE)
    ctypes.memset(mapping.address, 0, PAGE)
    mapping.libc.mprotect(mapping.address, mapping.SIZE, mmap.PROT_READ)
    wanted = bytes(PAGE) + mapping.content[PAGE:]
    assert mapping.read() == wanted
    trim_clean_pages()
    assert resident_bytes(mapping.address) == mapping.SIZE
    assert mapping.read() == wanted
    mapping.close()


@pytest.mark.parametrize("flags", [mmap.MAP_PRIVATE, mmap.MAP_SHARED])
def test_a_writable_mapping_is_left_alone(tmp_path: Path, flags: int) -> None:
    mapping = Mapping(tmp_path / "file", mmap.PROT_READ | mmap.PROT_WRITE, flags)
    mapping.read()
    trim_clean_pages()
    assert resident_bytes(mapping.address) == mapping.SIZE
    mapping.close()
