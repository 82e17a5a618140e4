"""Waiting for a processor, against the kernel's other counts, in a child that shares one with another process."""

from __future__ import annotations

import os

import pytest

from planner.system import waiting
from planner.system.waiting import Clock, WaitingShare, read_waits
from tests.unit.system.support import run_child

counted = pytest.mark.skipif(not read_waits(), reason="this kernel does not count how long threads wait")

SHARE = """
    import json, os, subprocess, sys, time
    from planner.system.waiting import Clock, WaitingShare
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if sys.argv[1] == "shared" else None
    if other is not None:
        while int(open(f"/proc/{other.pid}/schedstat").read().split()[0]) < 50_000_000: pass
    clock, share = Clock(), WaitingShare()
    started, wall, used = clock.now(), time.perf_counter(), time.thread_time()
    while time.thread_time() - used < 0.3: pass
    found = clock.now() - started
    print(json.dumps([found, clock.waited_seconds, time.perf_counter() - wall, share.permille()]))
    if other is not None:
        other.kill()
"""


@counted
def test_a_clock_stands_still_while_another_process_has_the_processor() -> None:
    found, waited, wall, permille = run_child(SHARE, "shared")
    assert found == pytest.approx(0.3, rel=0.15)  # what the thread computed
    assert waited == pytest.approx(wall - 0.3, rel=0.15, abs=0.03)
    assert waited > 0.1
    assert permille == pytest.approx(1000 * waited / wall, rel=0.1)


def test_a_process_waits_as_long_as_the_thread_that_waits_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"1": 0, "2": 5 * 10**8}
    monkeypatch.setattr(waiting, "read_waits", lambda: dict(told))
    clock = Clock()
    told.update({"1": 10**9, "2": 7 * 10**8, "3": 10**10})
    clock.now()
    assert clock.waited_seconds == 1.0  # not what a thread waited that has only come
    del told["2"]
    told["3"] += 10**9
    clock.now()
    assert clock.waited_seconds == 2.0


def test_a_wait_while_the_clock_is_read_counts_once_and_time_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second between the two readings of the first try: the time of that try is not one with the waits before it."""
    told = [{"1": 0}, {"1": 0}, {"1": 10**9}, {"1": 10**9}, {"1": 10**9}, {"1": 10**9}, {"1": 10**9}]
    times = iter([10.0, 11.0, 11.5])
    monkeypatch.setattr(waiting, "read_waits", lambda: told.pop(0))
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    monkeypatch.setattr("time.thread_time", lambda: 0.0)
    clock = Clock()
    assert clock.now() == 11.0 - 1.0
    assert clock.now() == 11.5 - 1.0
    assert clock.waited_seconds == 1.0


def test_where_the_kernel_counts_nothing_a_clock_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert read_waits() == {}
    clock = Clock()
    assert clock.now() < clock.now()
    assert clock.waited_seconds == 0.0
    assert WaitingShare().permille() is None
