"""The guard measures exactly and makes an overrun an error; in processes of their own, for limits are the process's."""

from __future__ import annotations

import mmap
import subprocess
import sys
import time

import pytest

from planner.errors import OverBudgetError
from planner.runner.train.guard import MemoryGuard, describe
from planner.system.proc import reset_peak
from planner.units import MIB
from tests.unit.system.support import run_child, with_read_only_proc

_LIMITED = """
from planner.runner.train.guard import MemoryGuard
from planner.system.exhaustion import is_out_of_memory
from planner.system.proc import read_memory
from planner.units import MIB
guard = MemoryGuard(read_memory().resident_bytes + 64 * MIB)
guard.begin_block()
fits = bytearray(48 * MIB)
del fits
try:
    bytearray(96 * MIB)
except MemoryError as error:
    assert is_out_of_memory(error)
    print("limited")
guard.release()
print(len(bytearray(96 * MIB)) // MIB)
"""

_KEEPING = """
from planner.runner.train.guard import MemoryGuard
from planner.system.proc import read_memory
from planner.units import MIB
before = read_memory().resident_bytes
guard = MemoryGuard(before + ROOM * MIB, keeps_freed=KEEPS)
blocks = [b"x" * 60_000 for _ in range(600)]
del blocks[:-1]
guard.take()
print((read_memory().resident_bytes - before) // MIB)
"""


@pytest.mark.parametrize(("keeps", "room", "given_back"), [(True, 38, True), (True, 80, False), (False, 38, False)])
def test_near_the_budget_what_fast_keeps_is_given_back(keeps: bool, room: int, given_back: bool) -> None:
    """34 MiB below one block that stays: glibc keeps them."""
    left = int(_run(_KEEPING.replace("ROOM", str(room)).replace("KEEPS", str(keeps))))
    assert left < 8 if given_back else left >= 30


_TORCH = """
from planner.training.runtime import start_torch
start_torch("tight", 1)
import torch
from planner.runner.train.guard import MemoryGuard
from planner.system.exhaustion import is_out_of_memory
from planner.system.proc import read_memory
from planner.units import MIB
guard = MemoryGuard(read_memory().resident_bytes + 64 * MIB)
guard.begin_block()
try:
    torch.ones(96 * MIB // 4)
except RuntimeError as error:
    print(is_out_of_memory(error))
"""


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_what_exceeds_the_allowance_fails_and_what_fits_does_not() -> None:
    assert _run(_LIMITED).split() == ["limited", "96"]


def test_what_a_kernel_maps_and_never_writes_is_left_room() -> None:
    mapping = _LIMITED.replace("guard.begin_block()", "guard.begin_block(untouched_bytes=64 * MIB)")
    assert _run(mapping).split() == ["96"]


def test_torchs_own_error_is_recognised() -> None:
    assert _run(_TORCH).strip() == "True"


def test_peaks_between_takes_are_exact_and_the_highest_is_remembered() -> None:
    reset_peak()  # of whatever tests ran before in this process
    guard = MemoryGuard(None)
    before = guard.take().resident_bytes
    # Pages of their own: the heap may hold as many, resident and free, from an earlier test.
    with mmap.mmap(-1, 32 * MIB) as block:
        for _ in range(32):
            block.write(b"x" * MIB)
    first = guard.take().peak_bytes
    second = guard.take().peak_bytes
    assert first - before == pytest.approx(32 * MIB, rel=0.05)
    assert second - before < 8 * MIB
    assert guard.block_peak_bytes == guard.life_peak_bytes == first
    guard.begin_block()
    assert guard.block_peak_bytes == 0
    assert guard.life_peak_bytes == first


def test_a_peak_above_the_allowance_is_an_error_that_names_both() -> None:
    guard = MemoryGuard(MIB)
    with pytest.raises(OverBudgetError, match=r"the dry step took .* MiB, 1\.0 MiB are allowed"):
        guard.check("the dry step")


def test_a_refused_allocation_is_told_in_plain_words() -> None:
    assert describe(MemoryError()) == "an allocation beyond the budget was refused"
    assert describe(OverBudgetError("its dry step took 3 MiB")) == "its dry step took 3 MiB"


_MONOTONE = """
    import json, mmap
    from planner.errors import OverBudgetError
    from planner.runner.train.guard import MemoryGuard
    from planner.system.proc import read_memory
    MIB = 2**20
    def touch(mebibytes):
        with mmap.mmap(-1, mebibytes * MIB) as block:
            for _ in range(mebibytes):
                block.write(b"x" * MIB)
    def refused(mebibytes):
        touch(mebibytes)
        try:
            guard.check("a step")
        except OverBudgetError:
            return True
        return False
    before = read_memory().peak_bytes
    guard = MemoryGuard(before + 48 * MIB)
    guard.begin()
    guard.begin_block()
    found = [refused(32)]
    first = guard.block_peak_bytes - before
    guard.begin_block()
    found += [refused(1), refused(40), refused(64)]
    highest = guard.life_peak_bytes - before
    guard.begin_block()  # at the next fallback: what came before does not count again
    found += [refused(32), refused(80)]
    print(json.dumps([guard.is_exact, found, first, highest, guard.life_peak_bytes - before]))
"""


def test_where_no_peak_begins_anew_it_is_the_highest_of_all_and_overruns_are_seen_still() -> None:
    exact, refused, first, highest, last = run_child(_MONOTONE, wrapper=with_read_only_proc())
    assert exact is False
    assert refused == [False, False, False, True, False, True]
    assert first == pytest.approx(32 * MIB, rel=0.1)
    assert highest == pytest.approx(64 * MIB, rel=0.1)
    assert last == pytest.approx(80 * MIB, rel=0.1)
    # The same where peaks do begin anew.
    exact, refused, first, highest, last = run_child(_MONOTONE)
    assert exact is True
    assert refused == [False, False, False, True, False, True]


_HIGH_START = """
    import json
    from planner.errors import RunError
    from planner.runner.train.guard import MemoryGuard
    from planner.system.proc import read_memory
    b"x" * (64 * 2**20)
    guard = MemoryGuard(read_memory().resident_bytes + 32 * 2**20)
    try:
        guard.begin()
    except RunError as error:
        print(json.dumps(str(error)))
    else:
        print(json.dumps(""))
"""


def test_where_an_overrun_could_not_be_told_from_the_start_nothing_begins() -> None:
    said = run_child(_HIGH_START, wrapper=with_read_only_proc())
    assert "/proc/self/clear_refs cannot be written" in said and "Make /proc writable" in said
    assert run_child(_HIGH_START) == ""


def test_each_phase_of_a_block_is_timed() -> None:
    guard = MemoryGuard(None)
    begun = time.perf_counter()
    guard.enter(0, "train")
    entered = time.perf_counter()
    while time.perf_counter() < entered + 0.02:
        pass
    guard.enter(0, "cache")
    guard.enter(0, "train")
    guard.enter(1, "train")
    found = guard.phase_seconds(0)
    assert list(found) == ["train", "cache"]
    assert found["train"] >= 0.02 and sum(found.values()) <= time.perf_counter() - begun
