"""What the judge of the promise adds up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from benchmarks.judge import summed_peaks
from planner.system.proc import read_memory

_TWIN = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
ballast = b"x" * (64 << 20)
stack = ctypes.create_string_buffer(1 << 16)
top = (ctypes.addressof(stack) + len(stack)) & ~15
CLONE_VM = 0x100
twin = libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), top, CLONE_VM | signal.SIGCHLD, None)
os.kill(twin, signal.SIGSTOP)
os.waitpid(twin, os.WUNTRACED)
print(twin, flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
"""Holds 64 MiB, which a second process has as well, as after vfork. Both stand still, so that no figure changes."""


def test_memory_that_two_processes_have_counts_once_and_that_of_two_counts_twice() -> None:
    with subprocess.Popen([sys.executable, "-c", _TWIN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        twin = int(process.stdout.readline())
        os.waitpid(process.pid, os.WUNTRACED)
        try:
            peak, own = read_memory(process.pid).peak_bytes, read_memory().peak_bytes
            assert peak > 64 << 20
            assert read_memory(twin).peak_bytes == peak
            assert summed_peaks([process.pid, twin]) == peak
            with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as other:
                assert peak < summed_peaks([process.pid, other.pid, twin]) < peak + own
        finally:
            os.kill(twin, signal.SIGKILL)
            process.kill()


def test_a_process_that_has_ended_counts_nothing() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    assert summed_peaks([process.pid]) == 0
