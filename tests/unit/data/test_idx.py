from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from planner.data.dataset import open_data
from planner.errors import DataError
from tests.unit.data.support import cycling_labels, random_images, read_all, write_idx

TRAIN = random_images(24, 5, 7)
TRAIN_LABELS = cycling_labels(24, 4)
TEST = random_images(6, 5, 7, seed=1)
TEST_LABELS = cycling_labels(6, 3)


def write_both(folder: Path, *, separator: str = "-", zipped: bool = False) -> None:
    write_idx(folder, "train", TRAIN, TRAIN_LABELS, separator=separator, zipped=zipped)
    write_idx(folder, "t10k", TEST, TEST_LABELS, separator=separator, zipped=zipped)


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_sample_comes_back(tmp_path: Path, separator: str, zipped: bool) -> None:
    write_both(tmp_path / "set", separator=separator, zipped=zipped)
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        info = data.info
        assert (info.train_samples, info.test_samples, info.classes) == (24, 6, 4)
        assert info.shape == (1, 5, 7)
        assert info.label_names == ()
        for split, images, labels in ((data.train, TRAIN, TRAIN_LABELS), (data.test, TEST, TEST_LABELS)):
            read, read_labels = read_all(split, (1, 5, 7))
            assert_array_equal(read[:, 0], images)
            assert_array_equal(read_labels, labels)
        unpacked = sum(path.stat().st_size for path in (tmp_path / "work").rglob("*.bin"))
        assert data.storage_bytes == unpacked == (zipped and (24 + 6) * (5 * 7 + 1) + 2 * (16 + 8))


def test_a_class_that_only_the_test_part_has_counts(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", TRAIN, TRAIN_LABELS)
    write_idx(tmp_path, "t10k", TEST, np.array([0, 1, 2, 3, 4, 5]))
    with open_data(str(tmp_path), tmp_path) as data:
        assert data.info.classes == 6


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_both(folder)
    for path in list(folder.iterdir()):
        path.rename(folder / f"{path.name}.gz")
    with open_data(str(folder), tmp_path / "work") as data:
        assert_array_equal(read_all(data.train, (1, 5, 7))[0][:, 0], TRAIN)
        assert data.storage_bytes == 0


def test_the_unpacked_file_is_taken_before_the_compressed_one(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_both(folder)
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(b"something else"))
    with open_data(str(folder), tmp_path / "work") as data:
        assert_array_equal(read_all(data.train, (1, 5, 7))[0][:, 0], TRAIN)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_both(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no t10k-labels-idx1-ubyte"):
        open_data(str(tmp_path), tmp_path)
    write_both(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match="no t10k-images-idx3-ubyte"):
        open_data(str(tmp_path), tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        open_data(str(tmp_path), tmp_path)


def damage(folder: Path, name: str, change: bytes, at: int = 0) -> Path:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[at : at + len(change)] = change
    path.write_bytes(data)
    return path


IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "change", "at", "problem"),
    [
        (IMAGES, b"\0\0\x0d\3", 0, "begins with 00 00 0d 03; an IDX file of this kind with 00 00 08 03"),
        (LABELS, b"\0\0\x08\3", 0, "begins with 00 00 08 03; an IDX file of this kind with 00 00 08 01"),
        (IMAGES, struct.pack(">I", 0), 4, "holds no samples"),
        (IMAGES, struct.pack(">I", 25), 4, "promises 25 records, so 891"),
        (IMAGES, struct.pack(">I", 23), 4, "promises 23 records, so 821"),
        (IMAGES, struct.pack(">I", 0), 8, "images of 0×7; height and width are 1 to 8192"),
        (IMAGES, struct.pack(">I", 8193), 12, "images of 5×8193; height and width are 1 to 8192"),
        (LABELS, struct.pack(">I", 2**32 - 1), 4, "promises 4294967295 records"),
    ],
)
def test_a_header_that_cannot_be_true(tmp_path: Path, name: str, change: bytes, at: int, problem: str) -> None:
    write_both(tmp_path)
    path = damage(tmp_path, name, change, at)
    with pytest.raises(DataError, match=problem) as caught:
        open_data(str(tmp_path), tmp_path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    ("size", "problem"), [(0, "is empty"), (3, "begins with"), (9, "ends inside"), (15, "ends inside")]
)
def test_a_file_cut_inside_its_header(tmp_path: Path, size: int, problem: str) -> None:
    write_both(tmp_path)
    (tmp_path / IMAGES).write_bytes((tmp_path / IMAGES).read_bytes()[:size])
    with pytest.raises(DataError, match=problem):
        open_data(str(tmp_path), tmp_path)


def test_as_many_labels_as_images_are_needed(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", TRAIN, TRAIN_LABELS[:-1])
    with pytest.raises(DataError, match="holds 23 labels for 24 images") as caught:
        open_data(str(tmp_path), tmp_path)
    assert caught.value.file == str(tmp_path / LABELS)


def test_both_parts_need_one_shape(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", TRAIN, TRAIN_LABELS)
    write_idx(tmp_path, "t10k", random_images(6, 7, 5), TEST_LABELS)
    with pytest.raises(DataError, match=r"its samples are 1×7×5 .* the training part has 1×5×7"):
        open_data(str(tmp_path), tmp_path)


def test_a_gzip_cut_short(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_both(folder, zipped=True)
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="is damaged") as caught:
        open_data(str(folder), tmp_path / "work")
    assert caught.value.file == str(path)
    assert list((tmp_path / "work" / "data").iterdir()) == []


def test_a_gzip_with_a_wrong_checksum(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_both(folder, zipped=True)
    path = folder / f"{LABELS}.gz"
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        open_data(str(folder), tmp_path / "work")


@pytest.mark.parametrize(("count", "problem"), [(23, "more bytes"), (25, "only 856 bytes")])
def test_a_gzip_that_unpacks_to_another_size_than_its_header_promises(tmp_path: Path, count: int, problem: str) -> None:
    folder = tmp_path / "set"
    write_both(folder, zipped=True)
    path = folder / f"{IMAGES}.gz"
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[4:8] = struct.pack(">I", count)
    path.write_bytes(gzip.compress(data))
    with pytest.raises(DataError, match=problem):
        open_data(str(folder), tmp_path / "work")
    assert list((tmp_path / "work" / "data").iterdir()) == []


def test_ruined_bytes_behind_the_gzip_magic(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_both(folder, zipped=True)
    (folder / f"{IMAGES}.gz").write_bytes(b"\x1f\x8b\x07" + bytes(40))
    with pytest.raises(DataError, match="is damaged"):
        open_data(str(folder), tmp_path / "work")


def test_the_names_of_emnist(tmp_path: Path) -> None:
    write_both(tmp_path, zipped=True)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / f"emnist-letters-{path.name.replace('t10k', 'test')}")
    (tmp_path / "emnist-letters-mapping.txt").touch()
    with open_data(str(tmp_path), tmp_path / "work") as data:
        assert (data.info.train_samples, data.info.test_samples) == (24, 6)
        left_out, swapped = data.parts.notes
        assert left_out == "left out: 1 file (1 .txt)" and "rows and columns swapped" in swapped


def test_several_sets_in_one_folder_are_refused(tmp_path: Path) -> None:
    for name in ("letters", "balanced"):
        write_both(tmp_path)
        for path in list(tmp_path.glob("t*")):
            path.rename(tmp_path / f"emnist-{name}-{path.name}")
    with pytest.raises(DataError, match=r"several sets .emnist-balanced, emnist-letters.; give each a folder"):
        open_data(str(tmp_path), tmp_path / "work")
