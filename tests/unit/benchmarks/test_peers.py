"""The race beside other people's code: what is chosen, timed and printed, without any training."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peers.contestants import PEERS, Work, largest, micro_batches
from benchmarks.peers.measure import Mark, step_seconds
from benchmarks.peers.results import Case, Chosen, Floor, Results, Timed, read_results, speed
from benchmarks.peers.table import against_best, tables
from planner.system.machine import probe
from planner.units import MIB

WORK = Work("vgg16", 32, 96)
CASE = Case(WORK, 1, "process", 300 * MIB)


def timed(name: str, cpu: float, problem: str | None = None, case: Case = CASE) -> Timed:
    return Timed(case, name, "abc1234", cpu, cpu / 2, 280 * MIB, problem)


@pytest.mark.parametrize("most", range(8))
def test_the_largest_that_fits_is_found_in_few_tries(most: int) -> None:
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= most

    assert largest(range(1, 8), fits) == (most or None)
    assert len(asked) <= 3


def test_micro_batches_divide_the_batch() -> None:
    assert micro_batches(96) == [1, 2, 4, 8, 16, 32, 96]
    assert micro_batches(128) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert micro_batches(1) == [1]


def test_a_step_is_timed_without_the_first_of_each_block() -> None:
    one = [Mark("", 10.0, 1.0, 0), Mark("", 12.0, 5.0, 0), Mark("", 14.0, 9.0, 0)]
    other = [Mark("", 20.0, 20.0, 0), Mark("", 20.5, 21.0, 0)]
    assert step_seconds([one, other]) == (2.0 + 0.5, 4.0 + 1.0)
    with pytest.raises(ValueError, match="1 steps"):
        step_seconds([one, other[:1]])


def test_a_speed_is_the_median_of_the_runs_that_count() -> None:
    runs = [timed("plain loop", value) for value in (9.0, 3.0, 5.0)]
    found = speed([*runs, timed("plain loop", 100.0, "1 killed")])
    assert found is not None
    assert (found.median, found.least, found.most, found.runs) == (5.0, 3.0, 9.0, 3)
    assert speed([timed("plain loop", 0.0, "1 killed")]) is None


def test_commands_say_what_is_in_memory_at_a_time() -> None:
    by_name = {peer.name: peer.command(Path("p"), WORK, 8, 3, 1000) for peer in PEERS}
    assert by_name["plain loop"][3:8] == ["vgg16", "--side", "32", "--batch", "8"]
    assert by_name["accumulation"][6:10] == ["--batch", "96", "--micro", "8"]
    assert by_name["memopro run"][:6] == ["p", "-m", "memopro", "run", "--budget", "1000B"]


def test_tables_and_results_hold_what_was_found(tmp_path: Path) -> None:
    more = Case(WORK, 1, "process", 600 * MIB)
    results = Results(
        probe(),
        (
            Chosen(CASE, "plain loop", None, CASE.budget_bytes, "killed at every size"),
            Chosen(more, "plain loop", 32, more.budget_bytes, None),
            Chosen(CASE, "auto --prefer speed", None, CASE.budget_bytes, None, "2 cuts"),
            Chosen(more, "auto --prefer speed", None, more.budget_bytes, None, "2 cuts"),
        ),
        (
            *(timed("auto --prefer speed", value, case=case) for case in (CASE, more) for value in (60.0, 80.0, 70.0)),
            timed("plain loop", 35.0, case=more),
        ),
        (Floor(WORK, "plain loop", 200 * MIB),),
    )
    results.write(tmp_path / "peers.json")
    assert read_results(tmp_path / "peers.json") == results
    text = tables(results)
    assert "| plain loop | — | 35.0 (35.0–35.0) ×32 |" in text
    assert "| auto --prefer speed | 70.0 (60.0–80.0) | 70.0 (60.0–80.0) |" in text
    assert "2.00 times as fast (geometric mean over 1 budgets), least 2.00" in text
    assert "plain loop 200.0." in text
    assert against_best(results, CASE) is None
    assert against_best(results, more) == 2.0
