"""A run's own small files: a flipped bit is told from what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.errors import InputError
from planner.runner.protocol.job import TrainingJob
from planner.runner.storage.sealed import read_sealed, write_sealed
from planner.schema.codec import to_json

JOB = TrainingJob("out", "sample", epochs=12, seed=345, checkpoint_seconds=1.5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    write_sealed(path, JOB)
    return path


def test_what_was_written_is_read(file: Path) -> None:
    assert read_sealed(file, TrainingJob) == JOB


def test_a_flipped_bit_in_any_byte_of_what_it_says_is_damage(file: Path) -> None:
    """One in a blank between words changes nothing, or is none that JSON allows."""
    content = file.read_bytes()
    for place in range(len(content)):
        bit = place % 8
        file.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        try:
            found = read_sealed(file, TrainingJob)
        except InputError:
            continue
        assert found == JOB


def test_every_shorter_file_is_damage(file: Path) -> None:
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(InputError, match=str(file)):
            read_sealed(file, TrainingJob)


def test_one_of_an_earlier_release_is_believed(file: Path) -> None:
    file.write_text(to_json(JOB))
    assert read_sealed(file, TrainingJob) == JOB
