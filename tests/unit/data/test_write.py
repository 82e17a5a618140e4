"""Samples written by us are read by numpy and by the run's own readers; memory stays that of one sample."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from planner.data.dataset import open_data
from planner.data.write import Part, write_npz
from planner.errors import DataError, InputError
from planner.tasks.base import class_label
from tests.unit.data.support import cycling_labels, random_images, read_all


def _part(images: np.ndarray, labels: np.ndarray, prefix: str = "", count: int | None = None) -> Part:
    samples = ((image.tobytes(), class_label(int(label))) for image, label in zip(images, labels, strict=True))
    return Part(prefix, len(images) if count is None else count, samples)


@pytest.mark.parametrize("channels", [1, 3])
def test_numpy_and_the_run_read_what_was_written(tmp_path: Path, channels: int) -> None:
    images, labels = random_images(30, 5, 7, channels), cycling_labels(30, 4)
    tests, told = random_images(6, 5, 7, channels, seed=1), cycling_labels(6, 4)
    path = tmp_path / "data.npz"
    write_npz(path, (channels, 5, 7), [_part(images, labels), _part(tests, told, "test_")])
    with np.load(path) as found:
        assert_array_equal(found["images"], images)
        assert_array_equal(found["labels"], labels)
        assert_array_equal(found["test_images"], tests)
        assert_array_equal(found["test_labels"], told)
    with open_data(str(path), tmp_path) as data:
        assert data.storage_bytes == 0  # read where it lies
        assert (data.info.train_samples, data.info.test_samples, data.info.classes) == (30, 6, 4)
        read, again = read_all(data.train, (channels, 5, 7))
        assert_array_equal(read, images.transpose(0, 3, 1, 2))
        assert again == labels.tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["data.npz"]


def test_names_of_classes_are_what_numpy_reads(tmp_path: Path) -> None:
    names = ("a", "ein längerer Name", "名前", "🐈")
    path = tmp_path / "data.npz"
    write_npz(path, (1, 2, 2), [_part(random_images(20, 2, 2, 1), cycling_labels(20, 4))], names)
    with np.load(path) as found:
        assert tuple(found["class_names"]) == names
    with open_data(str(path), tmp_path) as data:
        assert data.info.label_names == names
        assert data.parts.notes == ()


def test_equal_samples_make_equal_files(tmp_path: Path) -> None:
    images, labels = random_images(10, 4, 4, 1), cycling_labels(10, 2)
    for name in ("a", "b"):
        write_npz(tmp_path / name, (1, 4, 4), [_part(images, labels)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_was_promised_has_to_come(tmp_path: Path) -> None:
    images, labels = random_images(10, 4, 4, 1), cycling_labels(10, 2)
    with pytest.raises(InputError, match="the data set gave 10 samples, but said that it has 11"):
        write_npz(tmp_path / "a", (1, 4, 4), [_part(images, labels, count=11)])
    with pytest.raises(InputError, match="sample 0: has 16 bytes; 25 are needed"):
        write_npz(tmp_path / "a", (1, 5, 5), [_part(images, labels)])
    with pytest.raises(DataError, match="holds no samples"):
        write_npz(tmp_path / "a", (1, 4, 4), [_part(images[:0], labels[:0])])

    def failing() -> Iterator[tuple[bytes, bytes]]:
        yield bytes(16), bytes(4)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_npz(tmp_path / "a", (1, 4, 4), [Part("", 2, failing())])
    assert list(tmp_path.iterdir()) == []


_MANY = """
import sys
from pathlib import Path
from planner.data.write import Part, write_npz
from planner.system.proc import read_memory
size, count = 64 * 64, int(sys.argv[2])
image = bytes(size)
write_npz(Path(sys.argv[1]) / "warm", (1, 64, 64), [Part("", 100, ((image, bytes(4)) for _ in range(100)))])
before = read_memory().peak_bytes
write_npz(Path(sys.argv[1]) / "many", (1, 64, 64), [Part("", count, ((image, bytes(4)) for _ in range(count)))])
print(read_memory().peak_bytes - before, (Path(sys.argv[1]) / "many").stat().st_size)
"""


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MANY, str(tmp_path), "10000"], capture_output=True, text=True, check=True
    )
    grown, size = map(int, done.stdout.split())
    assert size > 10_000 * 4096
    assert grown < size / 10
