"""The file of samples is read once, whatever is written to it meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from planner.cli.follow import RunEnd, Spool, Told
from planner.schema import codec as document
from planner.schema.codec import to_json


def line(number: int) -> str:
    return json.dumps({"block": 0, "step": number}) + "\n"


def sent(number: int) -> dict[str, Any]:
    return {"sequence": number, "block": 0, "step": number}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every line that is parsed."""
    found: list[bytes] = []
    real = document.parse_json

    def parse(text: bytes) -> Any:
        found.append(text)
        return real(text)

    monkeypatch.setattr("planner.cli.follow.parse_json", parse)
    return found


def test_what_the_runs_process_says_is_heard_in_parts() -> None:
    pipe, other = os.pipe()
    told = Told(pipe)
    assert (told.wait(0), told.has_begun, told.end) == (False, False, None)
    os.write(other, b"begun\n")
    assert (told.wait(None), told.has_begun, told.end) == (False, True, None)
    end = to_json({"state": "failed", "reason": "no memory", "plan_id": "p"}, indent=None).encode() + b"\n"
    os.write(other, end[:20])
    assert (told.wait(None), told.end) == (False, None)
    os.write(other, end[20:])
    os.close(other)
    while not told.wait(None):
        pass
    assert told.end == RunEnd("failed", "no memory", "p")
    os.close(pipe)


def test_each_line_is_read_once_and_half_a_line_waits(tmp_path: Path, parsed: list[bytes]) -> None:
    path = tmp_path / "memory.jsonl"
    spool = Spool(path)
    assert list(spool.behind(-1)) == []  # no file yet
    path.write_text(line(0) + line(1) + line(2)[:5])
    assert list(spool.behind(-1)) == [[sent(0), sent(1)]]
    assert list(spool.behind(1)) == []
    with path.open("a") as file:
        file.write(line(2)[5:] + line(3))
    assert list(spool.behind(1)) == [[sent(2), sent(3)]]
    assert list(spool.behind(3)) == []
    assert [text.decode() for text in parsed] == [line(number) for number in range(4)]


def test_nothing_behind_the_place_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    path.write_text("".join(map(line, range(1000))))
    spool = Spool(path)
    assert [len(batch) for batch in spool.behind(-1)] == [500, 500]
    text = path.read_bytes()
    start = len(text) - len(line(999))
    path.write_bytes(b"\xff" * start + text[start:] + line(1000).encode())  # whoever read it again would fail
    assert list(spool.behind(999)) == [[sent(1000)]]


def test_what_did_not_arrive_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    path.write_text("".join(map(line, range(1200))))
    spool = Spool(path)
    assert next(spool.behind(-1))[-1] == sent(499)  # the service does not answer: nobody asks for the rest
    assert [batch[0] for batch in spool.behind(-1)] == [sent(0), sent(500), sent(1000)]
    assert [batch[0] for batch in spool.behind(699)] == [sent(700)]


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
def test_a_file_that_was_cut_and_written_anew_is_read_from_its_start(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "memory.jsonl"
    path.write_text("".join(map(line, range(5))))
    spool = Spool(path)
    assert len(next(spool.behind(-1))) == 5
    lines = [line(number) for number in range(kept)] + [line(100 + number) for number in range(kept, 8)]
    path.write_text("".join(lines))
    (batch,) = spool.behind(4)
    assert [one["sequence"] for one in batch] == [5, 6, 7]
    assert [one["step"] for one in batch] == [105, 106, 107]


def test_a_line_that_the_service_has_already_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    path.write_text("".join(map(line, range(5))))
    assert list(Spool(path).behind(2)) == [[sent(3), sent(4)]]
    assert list(Spool(path).behind(10)) == []
