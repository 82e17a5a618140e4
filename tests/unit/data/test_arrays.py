from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from planner.data.dataset import open_data
from planner.errors import DataError
from planner.tasks.base import class_of
from tests.unit.data.support import cycling_labels, random_images, write_idx


@pytest.mark.parametrize("channels", [1, 3])
def test_many_threads_read_one_part(tmp_path: Path, channels: int) -> None:
    images = random_images(500, 6, 5, channels)
    labels = cycling_labels(500, 7)
    np.savez(tmp_path / "set.npz", images=images, labels=labels, test_images=images[:1], test_labels=labels[:1])
    right = images.transpose(0, 3, 1, 2)
    with open_data(str(tmp_path / "set.npz"), tmp_path) as data:

        def read_shuffled(seed: int) -> bool:
            image = bytearray(channels * 6 * 5)
            for index in np.random.default_rng(seed).permutation(500).tolist():
                label = data.train.read_into(index, memoryview(image))
                if class_of(label) != labels[index] or image != right[index].tobytes():
                    return False
            return True

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(read_shuffled, range(16)))


def test_a_part_has_ends(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", random_images(12, 2, 3), cycling_labels(12, 2))
    write_idx(tmp_path, "t10k", random_images(4, 2, 3), cycling_labels(4, 2))
    with open_data(str(tmp_path), tmp_path) as data:
        assert data.test is not None
        for index in (-1, 4):
            with pytest.raises(IndexError, match=f"sample {index} of 4"):
                data.test.read_into(index, memoryview(bytearray(6)))


@pytest.mark.parametrize("given", [5, 7])
def test_a_buffer_of_another_size_is_refused(tmp_path: Path, given: int) -> None:
    write_idx(tmp_path, "train", random_images(12, 2, 3), cycling_labels(12, 2))
    with open_data(str(tmp_path), tmp_path) as data, pytest.raises(ValueError, match=f"{given} bytes .* image of 6"):
        data.train.read_into(0, memoryview(bytearray(given)))


def test_a_slice_of_a_batch_is_filled_and_nothing_beside_it(tmp_path: Path) -> None:
    images = random_images(12, 2, 3)
    write_idx(tmp_path, "train", images, cycling_labels(12, 2))
    batch = bytearray(3 * 6)
    with open_data(str(tmp_path), tmp_path) as data:
        data.train.read_into(4, memoryview(batch)[6:12])
    assert batch == bytes(6) + images[4].tobytes() + bytes(6)


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", random_images(12, 2, 3), cycling_labels(12, 2))
    path = tmp_path / "train-images-idx3-ubyte"
    with open_data(str(tmp_path), tmp_path) as data:
        with path.open("r+b") as file:
            file.truncate(16 + 5 * 6 + 2)
        image = memoryview(bytearray(6))
        data.train.read_into(4, image)
        with pytest.raises(DataError, match=f"{path}, record 5: ends at byte 48") as caught:
            data.train.read_into(5, image)
        assert caught.value.record == 5


def test_a_file_nobody_may_read_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", random_images(12, 2, 3), cycling_labels(12, 2))
    path = tmp_path / "train-labels-idx1-ubyte"
    path.unlink()
    path.symlink_to(path.name)  # a link to itself: not even the administrator reads through it
    with pytest.raises(DataError, match="cannot be opened") as caught:
        open_data(str(tmp_path), tmp_path)
    assert caught.value.file == str(path)
