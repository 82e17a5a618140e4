from __future__ import annotations

import json
import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import DocumentError, InputError
from planner.report.read import MAX_SAMPLES_KEPT, MemorySample, merge_samples, read_run, read_unfinished
from planner.report.run_tables import unfinished_table
from planner.schema.codec import to_json
from planner.schema.run_folder import Failure
from tests.unit.report.cells import flat
from tests.unit.report.documents import LINES, PLAIN, PLAN, POLISHED, POLISHED_REPORT, REPORT, line, write_run


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    (folder / "report.json").unlink()
    assert read_unfinished(folder).failure is None
    (folder / "failure.json").write_text(to_json(Failure("block 0: training has diverged: \x1b[31mthe loss is nan")))
    found = read_unfinished(folder)
    assert flat(unfinished_table(found, "stopped")).endswith(
        "failed block 0: training has diverged: \ufffd[31mthe loss is nan"
    )
    (folder / "failure.json").write_text("{")
    assert read_unfinished(folder).failure is None


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    record = read_run(write_run(tmp_path))
    assert record.plan == PLAN
    assert record.report == REPORT
    assert record.samples == tuple(MemorySample(**value) for value in LINES)


def test_a_polished_run_is_read_back(tmp_path: Path) -> None:
    written = lines(*LINES, line(7.0, block=2))
    record = read_run(write_run(tmp_path, written, POLISHED, POLISHED_REPORT))
    assert [sample.block for sample in record.samples] == [0, 0, 1, 2]
    with pytest.raises(InputError, match=r"its blocks are not those of plan\.json"):
        read_run(write_run(tmp_path, written, POLISHED, REPORT))


def test_an_exit_behind_no_unit_is_refused(tmp_path: Path) -> None:
    report = replace(REPORT, exits=(*REPORT.exits, replace(REPORT.exits[-1], unit=99)))
    with pytest.raises(InputError, match=r"its exits are not units of plan\.json"):
        read_run(write_run(tmp_path, lines(*LINES), report=report))


def test_a_run_without_steps_has_no_samples(tmp_path: Path) -> None:
    assert read_run(write_run(tmp_path, b"")).samples == ()


@pytest.mark.parametrize("cut", [1, 20, 60, len(lines(LINES[2])) - 2])
def test_a_last_line_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    record = read_run(write_run(tmp_path, lines(*LINES[:2]) + lines(LINES[2])[:cut]))
    assert [sample.seconds for sample in record.samples] == [1.0, 2.0]


def test_a_last_line_that_only_lacks_its_end_counts(tmp_path: Path) -> None:
    assert len(read_run(write_run(tmp_path, lines(*LINES)[:-1])).samples) == 3


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b'{"seconds": 1.0, "blo\n', "not JSON"),
        (lines(line(1.0, peak_bytes="1")), "peak_bytes: a whole number is needed"),
        (lines(line(1.0, peak_bytes=2**63)), "within"),
        (lines(line(-1.0)), "seconds is -1.0"),
        (lines(line(1.0, step=-1)), "count from 0"),
        (lines(line(1.0, block=2)), "block: 2 is not a block of plan.json, which has 2"),
        (lines(line(1.0, more=1)), "more: unknown field"),
        (lines({"seconds": 1.0}), "block: this field is missing"),
        (lines(line(math.nan)), "NaN"),
        (b"\n", "not JSON"),
        (b"\xff\n", "not UTF-8"),
        (b" " * 5000 + b"\n", "longer than 4096 bytes"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: bytes, problem: str) -> None:
    folder = write_run(tmp_path, lines(LINES[0]) + bad + lines(LINES[1]))
    with pytest.raises(DocumentError) as caught:
        read_run(folder)
    assert f"{folder / 'memory.jsonl'}, line 2" in str(caught.value)
    assert problem in str(caught.value)


def test_an_endless_line_is_not_read_to_its_end(tmp_path: Path) -> None:
    folder = write_run(tmp_path, b"")
    (folder / "memory.jsonl").unlink()
    (folder / "memory.jsonl").symlink_to("/dev/zero")
    with pytest.raises(DocumentError, match="line 1: longer than 4096 bytes"):
        read_run(folder)


@pytest.mark.parametrize("name", ["plan.json", "report.json", "memory.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path)
    (folder / name).unlink()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read_run(folder)


@pytest.mark.parametrize("name", ["plan.json", "report.json"])
def test_a_broken_document_is_named(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path)
    (folder / name).write_text('{"schema": "other/1"}')
    with pytest.raises(DocumentError) as caught:
        read_run(folder)
    assert str(folder / name) in str(caught.value)


def test_a_missing_report_says_that_the_run_has_not_finished(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    (folder / "report.json").unlink()
    with pytest.raises(InputError, match="the run has not finished"):
        read_run(folder)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        read_run(tmp_path / "absent")


def test_a_report_of_another_plan_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path, plan=replace(PLAN, id="f" * 64))
    (folder / "plan.json").write_text((write_run(tmp_path / "other") / "plan.json").read_text())
    with pytest.raises(InputError, match=r"belongs to plan 'ffffffffffff', but plan\.json is 'abcdef012345'"):
        read_run(folder)


def test_a_report_with_other_blocks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its blocks are not those"):
        read_run(write_run(tmp_path, plan=PLAIN))


def test_a_resumed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Each start counts seconds from 0 again: 2, 5 | 1, 4 | 3."""
    marks = (2.0, 5.0, 1.0, 4.0, 3.0)
    record = read_run(write_run(tmp_path, lines(*(line(seconds) for seconds in marks))))
    assert [sample.seconds for sample in record.samples] == [2.0, 5.0, 6.0, 9.0, 12.0]


def test_a_long_run_keeps_its_highest_step(tmp_path: Path) -> None:
    count = 2 * MAX_SAMPLES_KEPT + 10
    values = (line(step * 0.5, step=step, peak_bytes=10**9 if step == 31_234 else 10**8) for step in range(count))
    samples = read_run(write_run(tmp_path, lines(*values))).samples
    # A plan of two blocks, of which one ran: half of the places.
    assert MAX_SAMPLES_KEPT // 4 <= len(samples) <= MAX_SAMPLES_KEPT // 2
    assert [abs(sample.step - 31_234) < 8 for sample in samples if sample.peak_bytes == 10**9] == [True]


def stream(values: list[tuple[int, int, int]]) -> Iterator[MemorySample]:
    for position, (block, resident, peak) in enumerate(values):
        yield MemorySample(float(position), block, 0, position, resident, peak, 1.0)


VALUES = st.lists(st.tuples(st.integers(0, 3), st.integers(-(10**9), 10**12), st.integers(0, 10**12)), max_size=300)


@given(VALUES, st.integers(2, 30))
def test_merging_keeps_every_blocks_peak_and_its_mean(values: list[tuple[int, int, int]], each: int) -> None:
    merged = merge_samples(stream(values), 4 * each, 4)
    assert len(merged) <= 4 * each
    assert list(merged) == sorted(merged, key=lambda sample: sample.seconds)
    for block in range(4):
        own = [value for value in values if value[0] == block]
        kept = [sample for sample in merged if sample.block == block]
        assert max((sample.peak_bytes for sample in kept), default=None) == max((own[2] for own in own), default=None)
        assert {sample.peak_bytes for sample in kept} <= {peak for _, _, peak in own}
        if own:
            low, high = min(resident for _, resident, _ in own), max(resident for _, resident, _ in own)
            assert all(low <= sample.resident_bytes <= high for sample in kept)


@given(st.integers(0, 4).map(lambda power: 2**power), st.data())
def test_stretches_are_neighbours_with_their_mean_and_maximum(length: int, data: st.DataObject) -> None:
    """With room for 8 of 8·length samples, each result is exactly `length` of them."""
    number = st.integers(0, 10**12)
    pairs = data.draw(st.lists(st.tuples(number, number), min_size=8 * length, max_size=8 * length))
    merged = merge_samples(stream([(0, resident, peak) for resident, peak in pairs]), 8, 1)
    groups = [pairs[start : start + length] for start in range(0, len(pairs), length)]
    assert [sample.peak_bytes for sample in merged] == [max(peak for _, peak in group) for group in groups]
    for sample, group in zip(merged, groups, strict=True):
        assert abs(sample.resident_bytes * length - sum(resident for resident, _ in group)) <= length
    assert [sample.step for sample in merged] == [length * (index + 1) - 1 for index in range(8)]


def test_what_fits_is_left_as_it_is() -> None:
    samples = tuple(stream([(0, 5, 7), (0, 6, 6), (1, 1, 2), (1, 3, 4)]))
    assert merge_samples(samples, 4, 2) == samples


def test_merging_holds_no_more_than_it_may_keep() -> None:
    alive: weakref.WeakSet[MemorySample] = weakref.WeakSet()
    most = 0

    def watched() -> Iterator[MemorySample]:
        nonlocal most
        for sample in stream([(index // 2500, index, index) for index in range(5000)]):
            alive.add(sample)
            most = max(most, len(alive))
            yield sample

    assert len(merge_samples(watched(), 64, 2)) <= 64
    assert 32 <= most <= 64 + 3  # the sample on its way, and the loop's own names
