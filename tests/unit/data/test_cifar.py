from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from planner.data.dataset import open_data
from planner.errors import DataError
from tests.unit.data.support import cycling_labels, random_images, read_all, write_cifar

SHAPE = (3, 32, 32)


def test_batches_follow_each_other_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    images = random_images(30, *SHAPE)
    labels = cycling_labels(30, 10)
    # Batches of unequal length, and a tenth that sorts behind the second as text does not.
    for number, (first, last) in {1: (0, 7), 2: (7, 20), 10: (20, 30)}.items():
        write_cifar(tmp_path / f"data_batch_{number}.bin", images[first:last], labels[first:last])
    test = random_images(5, *SHAPE, seed=1)
    write_cifar(tmp_path / "test_batch.bin", test, labels[3:8])
    with open_data(str(tmp_path), tmp_path / "work") as data:
        assert (data.info.train_samples, data.info.test_samples, data.info.classes) == (30, 5, 10)
        assert data.info.shape == SHAPE
        assert data.info.label_names == ()
        read, read_labels = read_all(data.train, SHAPE)
        assert_array_equal(read, images)
        assert_array_equal(read_labels, labels)
        read, read_labels = read_all(data.test, SHAPE)
        assert_array_equal(read, test)
        assert_array_equal(read_labels, labels[3:8])


def test_names_come_from_the_meta_file(tmp_path: Path) -> None:
    write_cifar(tmp_path / "data_batch_1.bin", random_images(20, *SHAPE), cycling_labels(20, 2))
    (tmp_path / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    with open_data(str(tmp_path), tmp_path) as data:
        assert data.info.label_names == ("airplane", "automobile", "bird")
        assert data.info.classes == 3


@pytest.mark.parametrize(("meta", "highest"), [(None, 9), ("a\nb\n", 1)])
def test_the_first_label_out_of_range_is_named(tmp_path: Path, meta: str | None, highest: int) -> None:
    labels = np.zeros(2000, dtype=np.uint8)
    labels[[1500, 1700]] = highest + 1, highest + 2
    write_cifar(tmp_path / "data_batch_1.bin", random_images(2000, *SHAPE), labels)
    if meta:
        (tmp_path / "batches.meta.txt").write_text(meta)
    with pytest.raises(DataError, match=rf"record 1500: the label {highest + 1} is not in 0 … {highest}") as caught:
        open_data(str(tmp_path), tmp_path)
    assert caught.value.file == str(tmp_path / "data_batch_1.bin")
    assert caught.value.record == 1500


def test_a_batch_cut_inside_a_record(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    write_cifar(path, random_images(4, *SHAPE), cycling_labels(4, 2))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="record 3: ends 3072 bytes into a record of 3073"):
        open_data(str(tmp_path), tmp_path)


def test_an_empty_batch(tmp_path: Path) -> None:
    write_cifar(tmp_path / "data_batch_1.bin", random_images(20, *SHAPE), cycling_labels(20, 2))
    (tmp_path / "data_batch_2.bin").touch()
    with pytest.raises(DataError, match=r"data_batch_2\.bin: is empty"):
        open_data(str(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "not a list of class names in UTF-8"),
        (b"x" * 65_537, "at most 65536"),
        (b"a\n" * 257, "names 257 classes"),
        (b"only\n", "has 1 class; training needs at least 2"),
    ],
)
def test_a_meta_file_that_names_no_classes(tmp_path: Path, content: bytes, problem: str) -> None:
    write_cifar(tmp_path / "data_batch_1.bin", random_images(20, *SHAPE), np.zeros(20, dtype=np.uint8))
    (tmp_path / "batches.meta.txt").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        open_data(str(tmp_path), tmp_path)


def test_pickled_batches_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x01")
    with pytest.raises(DataError, match="pickled CIFAR-10 batches, which are never opened"):
        open_data(str(tmp_path), tmp_path)
