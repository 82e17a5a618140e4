"""What runs of earlier releases have written is read as what it said."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.errors import DocumentError
from planner.runner.protocol.job import TrainingJob
from planner.runner.protocol.position import Position, read_position
from planner.runner.storage.safetensors import write_tensors
from planner.runner.storage.sealed import read_sealed, write_sealed
from planner.schema.codec import decode, encode


def test_a_checkpoint_that_calls_its_fallback_a_rung_goes_on_with_it(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    write_tensors(file, [], lambda: [], {"position": '{"block": 2, "rung": 3, "step": 17}'})
    assert read_position(file) == Position(2, fallback=3, step=17)


def test_a_job_that_calls_its_fallback_a_rung_is_read(tmp_path: Path) -> None:
    (tmp_path / "job").write_text('{"out": "out", "data": "sample", "first_block": 1, "first_rung": 2}')
    assert read_sealed(tmp_path / "job", TrainingJob) == TrainingJob("out", "sample", first_block=1, first_fallback=2)


def test_what_is_written_now_has_todays_names(tmp_path: Path) -> None:
    position, job = Position(1, fallback=2), TrainingJob("out", "sample", first_fallback=1)
    assert encode(position)["fallback"] == 2 and "rung" not in encode(position)
    write_sealed(tmp_path / "job", job)
    assert read_sealed(tmp_path / "job", TrainingJob) == job


def test_a_document_that_says_both_names_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"\$\.rung: unknown field"):
        decode(Position, {"block": 0, "rung": 1, "fallback": 2})
