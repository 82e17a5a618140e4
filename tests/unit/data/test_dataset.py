from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from planner import limits
from planner.data import dataset
from planner.data.dataset import open_data
from planner.data.split import check_samples, check_shape
from planner.errors import DataError
from planner.sample import SAMPLE_FILE
from planner.tasks.base import class_label, class_of
from tests.unit.data.support import cycling_labels, random_images, read_all, write_idx

FASHION_LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def test_a_set_without_a_test_part_is_given_as_it_is(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", random_images(25, 2, 2), cycling_labels(25, 3))
    with open_data(str(tmp_path), tmp_path) as data:
        assert (data.info.train_samples, data.info.test_samples) == (25, 0)
        assert (data.train.samples, data.test, data.validation) == (25, None, None)


def test_the_sample_is_what_numpy_reads_from_it(tmp_path: Path) -> None:
    with np.load(SAMPLE_FILE) as arrays, open_data("sample", tmp_path) as data:
        assert data.info.name == "sample"
        assert data.info.label_names == FASHION_LABELS
        assert data.info.classes == 10
        for split, prefix in ((data.train, ""), (data.test, "test_")):
            images, labels = read_all(split, (1, 28, 28))
            assert_array_equal(images[:, 0], arrays[f"{prefix}images"])
            assert_array_equal(labels, arrays[f"{prefix}labels"])
    assert list(tmp_path.rglob("images-*.bin"))


def test_the_debian_package(tmp_path: Path) -> None:
    if not dataset.FASHION_MNIST_FOLDER.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    with open_data("fashion-mnist", tmp_path) as data:
        assert (data.info.train_samples, data.info.test_samples, data.info.classes) == (60_000, 10_000, 10)
        assert data.info.label_names == FASHION_LABELS
        # 6,000 and 1,000 of each class, says the data set's README.
        image = memoryview(bytearray(784))
        assert data.test is not None
        counts = np.bincount([class_of(data.test.read_into(i, image)) for i in range(10_000)])
        assert_array_equal(counts, [1_000] * 10)


def test_the_debian_package_is_named_where_it_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "FASHION_MNIST_FOLDER", tmp_path / "absent")
    with pytest.raises(DataError, match="install the Debian package dataset-fashion-mnist"):
        open_data("fashion-mnist", tmp_path)


@pytest.mark.parametrize("name", ["absent", "absent/", "a\0b", "x" * 300])
def test_a_path_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot be opened .*; `sample`, `fashion-mnist` or a path is needed"):
        open_data(f"{tmp_path}/{name}", tmp_path)


def test_no_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no name or path is given"):
        open_data("", tmp_path)


@pytest.mark.parametrize("content", [b"P", b"PK\x05\x06" + bytes(18), b"\x1f\x8b\x08" + bytes(20), b"a,b,c\n1,2,3\n"])
def test_a_file_in_no_known_layout(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set").write_bytes(content)
    with pytest.raises(DataError, match=r"in no layout that is understood; .*IDX.*CIFAR-10.*per class.*\.npz"):
        open_data(str(tmp_path / "set"), tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "set").touch()
    with pytest.raises(DataError, match="set: is empty"):
        open_data(str(tmp_path / "set"), tmp_path)


def test_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: is not a regular file"):
        open_data(str(tmp_path / "pipe"), tmp_path)


def test_a_folder_in_no_known_layout(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(DataError, match=r"is an empty folder; .*IDX.*CIFAR-10.*per class.*\.npz"):
        open_data(str(tmp_path), tmp_path / "work")
    (tmp_path / "notes.txt").write_text("something")
    (tmp_path / "code").mkdir()
    with pytest.raises(DataError, match=r"in no layout that is understood; .*IDX.*CIFAR-10.*per class.*\.npz"):
        open_data(str(tmp_path), tmp_path / "work")


def test_closing_gives_back_every_descriptor(tmp_path: Path) -> None:
    write_idx(tmp_path / "set", "train", random_images(25, 2, 2), cycling_labels(25, 3), zipped=True)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208, names are what is compared
    data = open_data(str(tmp_path / "set"), tmp_path / "work")
    assert len(list(Path("/proc/self/fd").iterdir())) > len(before)
    data.close()
    data.close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
    with pytest.raises(ValueError, match="is closed"):
        data.train.read_into(0, memoryview(bytearray(4)))


def test_a_part_gives_back_its_own_descriptors(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", random_images(25, 2, 2), cycling_labels(25, 3))
    write_idx(tmp_path, "t10k", random_images(5, 2, 2), cycling_labels(5, 3))
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with open_data(str(tmp_path), tmp_path / "work") as data:
        assert data.test is not None
        data.train.close()
        data.train.close()
        assert data.test.read_into(0, memoryview(bytearray(4))) == class_label(0)
        data.test.close()
        assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_failing_to_open_gives_back_every_descriptor(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", random_images(25, 2, 2), cycling_labels(25, 3))
    write_idx(tmp_path, "t10k", random_images(5, 2, 3), cycling_labels(5, 3))
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with pytest.raises(DataError):
        open_data(str(tmp_path), tmp_path / "work")
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


@pytest.mark.parametrize(
    ("shape", "allowed"),
    [
        ((1, 1, 1), True),
        ((limits.MAX_CHANNELS, 1, 1), True),
        ((limits.MAX_CHANNELS + 1, 1, 1), False),
        ((1, limits.MAX_EXTENT, limits.MAX_EXTENT), True),
        ((1, 1, limits.MAX_EXTENT + 1), False),
        ((32, limits.MAX_EXTENT, limits.MAX_EXTENT), True),  # 2^5 · 2^13 · 2^13 = 2^31, the most there may be
        ((33, limits.MAX_EXTENT, limits.MAX_EXTENT), False),
    ],
)
def test_limits_of_an_image(shape: tuple[int, int, int], allowed: bool) -> None:
    if allowed:
        check_shape("file", shape)
    else:
        with pytest.raises(DataError, match=r"^file: "):
            check_shape("file", shape)


def test_limit_of_samples() -> None:
    check_samples("file", limits.MAX_SAMPLES)
    with pytest.raises(DataError, match="promises 10000000001 samples; at most 10000000000"):
        check_samples("file", limits.MAX_SAMPLES + 1)


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from planner.data.dataset import open_data\n"
        "open_data('sample', Path(sys.argv[1])).close()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'numpy', 'torch', 'PIL', 'pydantic'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
