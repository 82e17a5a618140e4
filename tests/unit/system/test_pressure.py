from __future__ import annotations

from pathlib import Path

import pytest

from planner.system.pressure import Busy


def _kernel(root: Path, waited_us: int, stolen: int, other: int) -> Path:
    (root / "proc/pressure").mkdir(parents=True, exist_ok=True)
    text = f"some avg10=0.00 avg60=1.00 avg300=2.00 total={waited_us}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    (root / "proc/pressure/cpu").write_text(text)
    (root / "proc/stat").write_text(f"cpu  {other} 0 0 0 0 0 0 {stolen} {other} 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    return root


def test_pressure_and_stolen_time_are_shares_of_what_has_passed(tmp_path: Path) -> None:
    before = Busy.read(_kernel(tmp_path, 3_000_000, 10, 1000))
    after = Busy.read(_kernel(tmp_path, 3_500_000, 40, 1270))
    later = Busy(before.seconds + 2, after.pressure_seconds, after.ticks, after.stolen_ticks, after.switches)
    assert later.pressure_permille(before) == 250
    assert later.stolen_permille(before) == 100  # 30 of 300; guests' ticks are among the users'


def test_a_kernel_that_does_not_tell_is_believed(tmp_path: Path) -> None:
    before = after = Busy.read(tmp_path)
    assert (after.pressure_permille(before), after.stolen_permille(before)) == (None, None)


@pytest.mark.parametrize("text", ["", "full total=3", "some total=x", "some"])
def test_a_file_of_another_form_tells_nothing(tmp_path: Path, text: str) -> None:
    (_kernel(tmp_path, 0, 0, 0) / "proc/pressure/cpu").write_text(text)
    assert Busy.read(tmp_path).pressure_seconds is None


def test_this_kernels_counts_never_fall() -> None:
    before, after = Busy.read(), Busy.read()
    assert after.switches >= before.switches
    assert after.stolen_permille(before) in (None, *range(1001))
