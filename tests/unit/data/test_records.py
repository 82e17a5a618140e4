from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from planner.data import records
from planner.data.records import Records, file_bytes, write_records
from planner.errors import StorageError
from planner.schema.data import DataDescription, DataPart, PartName
from planner.tasks.base import class_label
from tests.unit.data.support import cycling_labels, random_images, read_all

SHAPE = (3, 5, 7)
IMAGES, LABELS = random_images(12, *SHAPE), cycling_labels(12, 3)


def description(train: int = 6, validation: int = 2, test: int = 4, held_out: bool = True) -> DataDescription:
    parts = (DataPart("train", train), DataPart("validation", validation), DataPart("test", test))
    drawn: tuple[PartName, ...] = ("validation",) if held_out else ()
    return DataDescription("data/1", "x", "npz", SHAPE, 3, ("a", "b", "c"), parts, drawn, 0, "d", "c")


def write(path: Path, held_out: bool = True) -> Path:
    with write_records(path, description(held_out=held_out)) as writer:
        for image, label in zip(IMAGES, LABELS, strict=True):
            writer.append(memoryview(image.reshape(-1)), class_label(int(label)))
    return path


def test_parts_lie_one_behind_the_other(tmp_path: Path) -> None:
    path = write(tmp_path / "r")
    assert path.stat().st_size == file_bytes(description())
    with Records(path) as data:
        assert data.description == description()
        for split, first, last in ((data.train, 0, 6), (data.validation, 6, 8), (data.test, 8, 12)):
            images, labels = read_all(split, SHAPE)
            assert_array_equal(images, IMAGES[first:last])
            assert labels == LABELS[first:last].tolist()


@pytest.mark.parametrize(("held_out", "samples"), [(True, 8), (False, 6)])
def test_what_is_held_out_of_training_samples_may_be_trained_on(tmp_path: Path, held_out: bool, samples: int) -> None:
    with Records(write(tmp_path / "r", held_out)) as data:
        assert_array_equal(read_all(data.training, SHAPE)[0], IMAGES[:samples])
        assert data.description.training_samples == samples


def test_the_file_is_what_its_description_says(tmp_path: Path) -> None:
    """Read with numpy alone, by the words of the module's docstring."""
    stored = write(tmp_path / "r").read_bytes()
    assert stored[:16] == b"neuroflux-data/1"
    start = 24 + int.from_bytes(stored[16:20], "little")
    kind = np.dtype([("image", "u1", SHAPE), ("label", "<u4"), ("checksum", "<u4")])
    found = np.frombuffer(stored, kind, offset=start + -start % 4096)
    assert_array_equal(found["image"], IMAGES)
    assert_array_equal(found["label"], LABELS)


@pytest.mark.parametrize("byte", [0, 17, 21, 60, 4096, 4096 + 104, 4096 + 105, 4096 + 109, -1])
def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path, byte: int) -> None:
    path = write(tmp_path / "r")
    stored = bytearray(path.read_bytes())
    stored[byte] ^= 4
    path.write_bytes(stored)
    with pytest.raises(StorageError, match=str(path)), Records(path) as data:
        data.verify()


@pytest.mark.parametrize("change", [-1, 1])
def test_another_length_is_noticed(tmp_path: Path, change: int) -> None:
    path = write(tmp_path / "r")
    os.truncate(path, path.stat().st_size + change)
    with pytest.raises(StorageError, match="its header promises"):
        Records(path)


def test_nothing_is_left_where_writing_ends_early(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), write_records(tmp_path / "r", description()) as writer:
        writer.append(memoryview(IMAGES[0].reshape(-1)), bytes(1 // 0))
    with pytest.raises(ValueError, match="bytes were written"), write_records(tmp_path / "r", description()):
        pass
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "free_bytes", lambda path: 5000)
    needed = file_bytes(description())
    with pytest.raises(StorageError, match="are free"), write_records(tmp_path / "r", description()):
        pass
    assert needed > 5000 and list(tmp_path.iterdir()) == []


def test_a_split_has_ends_and_wants_a_buffer_of_its_size(tmp_path: Path) -> None:
    with Records(write(tmp_path / "r")) as data:
        for index in (-1, 2):
            with pytest.raises(IndexError, match=f"sample {index} of 2"):
                data.validation.read_into(index, memoryview(bytearray(105)))
        with pytest.raises(ValueError, match="104 bytes given for an image of 105"):
            data.train.read_into(0, memoryview(bytearray(104)))
    with pytest.raises(ValueError, match="is closed"):
        data.train.read_into(0, memoryview(bytearray(105)))


def test_reading_imports_nothing_but_the_standard_library(tmp_path: Path) -> None:
    path = write(tmp_path / "r")
    code = (
        "import sys; from pathlib import Path; from planner.data.records import Records\n"
        "Records(Path(sys.argv[1])).verify()\n"
        "heavy = {'numpy', 'torch', 'PIL', 'pydantic', 'subprocess', 'zipfile', 'tempfile'}\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
