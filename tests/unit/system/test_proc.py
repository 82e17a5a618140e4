from __future__ import annotations

import mmap
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from planner.system.proc import Memory, read_memory, reset_peak
from tests.unit.system.support import MIB, environment, needs_root, python, run_child

PAGE = mmap.PAGESIZE


@contextmanager
def stopped_child(code: str = "") -> Iterator[int]:
    """The pid of a Python process that has run `code` and then stopped itself: its numbers no longer change."""
    stop = "\nimport os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    with subprocess.Popen(python(code + stop), env=environment()) as child:
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED)
        try:
            yield child.pid
        finally:
            child.kill()


def kernel_says(pid: int) -> Memory:
    """The same numbers through regular expressions, the slow and obvious way."""
    text = Path(f"/proc/{pid}/status").read_text()

    def kibibytes(key: str) -> int:
        found = re.search(rf"^{key}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    return Memory(*(kibibytes(key) for key in ("VmRSS", "VmHWM", "RssAnon", "RssFile", "VmData", "VmSwap")))


def touch(size_bytes: int) -> mmap.mmap:
    area = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, size_bytes, PAGE):
        area[offset] = 1
    return area


def test_reads_what_the_status_file_of_another_process_says() -> None:
    with stopped_child("import json, decimal") as pid:
        memory = read_memory(pid)
        assert memory == kernel_says(pid)
    assert 0 < memory.anonymous_bytes < memory.resident_bytes <= memory.peak_bytes
    assert memory.anonymous_bytes + memory.file_bytes <= memory.resident_bytes


def test_agrees_with_the_page_tables() -> None:
    with stopped_child() as pid:
        rollup = re.search(r"^Rss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        assert rollup is not None
        lag = 64 * PAGE * (os.cpu_count() or 1)
        assert abs(read_memory(pid).resident_bytes - int(rollup[1]) * 1024) <= lag


@needs_root
def test_a_name_that_looks_like_a_field_and_an_empty_list_of_groups() -> None:
    code = """
        import ctypes, os
        os.setgroups([])
        ctypes.CDLL(None).prctl(15, b"x\\nVmRSS:\\t1 kB\\n", 0, 0, 0)
    """.replace("        ", "")
    with stopped_child(code) as pid:
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
        assert "VmRSS" in status.splitlines()[0]
        assert read_memory(pid).resident_bytes > MIB


def test_touched_anonymous_bytes_are_counted_to_the_page() -> None:
    before = read_memory()
    area = touch(32 * MIB)
    after = read_memory()
    assert after.anonymous_bytes - before.anonymous_bytes == pytest.approx(32 * MIB, abs=MIB)
    assert after.resident_bytes - before.resident_bytes == pytest.approx(32 * MIB, abs=MIB)
    assert after.data_bytes - before.data_bytes == pytest.approx(32 * MIB, abs=MIB)
    area.close()


def test_mapped_but_untouched_bytes_count_as_data_only() -> None:
    before = read_memory()
    area = mmap.mmap(-1, 256 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    after = read_memory()
    assert after.data_bytes - before.data_bytes == pytest.approx(256 * MIB, abs=MIB)
    assert after.resident_bytes - before.resident_bytes < MIB
    area.close()


def test_the_peak_between_two_resets_is_exact() -> None:
    if not reset_peak():
        pytest.skip("this kernel or container does not let a process reset its peak")
    touch(64 * MIB).close()
    assert read_memory().peak_bytes - read_memory().resident_bytes == pytest.approx(64 * MIB, abs=MIB)
    assert reset_peak()
    assert read_memory().peak_bytes - read_memory().resident_bytes < MIB
    touch(8 * MIB).close()
    assert read_memory().peak_bytes - read_memory().resident_bytes == pytest.approx(8 * MIB, abs=MIB)


def test_a_peak_that_cannot_be_reset_is_said_and_not_raised(tmp_path: Path) -> None:
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /proc && exec "$@"', "sh")
    if os.geteuid() != 0 or subprocess.run([*hide, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount something over /proc")
    assert (
        run_child("from planner.system.proc import reset_peak; print(str(reset_peak()).lower())", wrapper=hide) is False
    )


def test_a_process_that_ended_is_a_process_lookup_error() -> None:
    with subprocess.Popen(["/bin/true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):  # a zombie: it has a status, but no memory
            read_memory(child.pid)
        child.wait()
        with pytest.raises(ProcessLookupError):
            read_memory(child.pid)


def test_reading_costs_one_open_and_one_read(tmp_path: Path) -> None:
    code = """
        import json, os
        from planner.system import proc
        calls = []
        for name in ("open", "read"):
            def spy(*arguments, real=getattr(os, name), name=name):
                calls.append(name)
                return real(*arguments)
            setattr(os, name, spy)
        proc.read_memory()
        print(json.dumps(calls))
    """
    assert run_child(code) == ["open", "read"]
