"""Tables and folders of arrays, read back against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from planner.data.dataset import open_data
from planner.data.split import Dataset, Split
from planner.errors import DataError

ROWS = [[0.5, -1e-3, 3.0], [1.0, 2.0, 4.25], [9.0, 0.0, -7.5]] * 4


def table(path: Path, labels: list[object], header: str = "a,label,b,c") -> Path:
    lines = [f"{a},{label},{b},{c}" for (a, b, c), label in zip(ROWS, labels, strict=False)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def features(split: Split | None) -> list[list[float]]:
    assert split is not None
    found = []
    for index in range(split.samples):
        buffer = bytearray(split.record_bytes)
        split.read_into(index, memoryview(buffer))
        found.append(np.frombuffer(buffer, np.float32).tolist())
    return found


def classes(data: Dataset) -> list[int]:
    return list(data.train.labels())


def test_columns_are_features_and_text_names_classes(tmp_path: Path) -> None:
    labels: list[object] = ["dog", "cat", "owl"] * 4
    with open_data(str(table(tmp_path / "set.csv", labels)), tmp_path) as data:
        assert (data.info.shape, data.info.dtype) == ((3,), "float32")
        assert_array_equal(features(data.train), np.array(ROWS, np.float32))
        assert data.info.label_names == ("cat", "dog", "owl")
        assert classes(data) == [1, 0, 2] * 4
        assert data.parts.layout == "csv"


def test_whole_numbers_are_classes_and_parts_are_files(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        table(tmp_path / f"{name}.csv", [0, 1, 2] * 4)
    with open_data(str(tmp_path), tmp_path / "work") as data:
        assert classes(data) == [0, 1, 2] * 4
        assert data.validation is not None and data.test is not None
        assert_array_equal(features(data.test), np.array(ROWS, np.float32))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,label\n1,0\n2,0,3\n", r"set\.csv: line 3 has 3 fields; the header has 2"),
        ("a,label\n1,0\nx,0\n", r"set\.csv: line 3: the column 'a' holds 'x'; a number is needed"),
        ("a,label\n1,0\nnan,0\n", "line 3: the column 'a' holds 'nan'; a number is needed"),
        ("a,label\n1e99,0\n", "line 2: the column 'a' holds '1e99'; a number is needed"),
        ("a,label\n1,\n", "line 2: has no label"),
        ("a,b\n1,0\n", r"no column is the label by its name \(a, b\)"),
        ("label,y\n1,0\n", "more than one column is the label"),
        ("a,a,label\n1,1,0\n", "has two columns of one name"),
        ("label\n1\n", "has 0 columns beside the label"),
        ("a,label\n", "holds no rows behind its header"),
        ("\n", "is empty; the first line names the columns"),
        ('a,label\n"1,0\n', "is no table"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "set.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        open_data(str(tmp_path / "set.csv"), tmp_path / "work")


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_bytes(b"a,label\n\xff,0\n")
    with pytest.raises(DataError, match=r"is not UTF-8 text"):
        open_data(str(tmp_path / "set.csv"), tmp_path / "work")


def test_arrays_of_a_folder_are_read_where_they_lie(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = np.array(ROWS)
    np.save(folder / "x_train.npy", rows)
    np.save(folder / "y_train.npy", np.arange(12) % 3)
    np.save(folder / "x_val.npy", rows[:2])
    np.save(folder / "y_val.npy", np.array([0, 1]))
    np.save(folder / "x_test.npy", rows[:1])
    np.save(folder / "y_test.npy", np.array([2]))
    with open_data(str(folder), tmp_path / "work") as data:
        assert_array_equal(features(data.train), rows.astype(np.float32))
        assert_array_equal(features(data.validation), rows[:2].astype(np.float32))
        assert data.parts.layout == "npy"
        assert data.storage_bytes == 0
    assert not (tmp_path / "work").exists()


def test_an_array_of_a_folder_that_lacks_its_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.array(ROWS))
    with pytest.raises(DataError, match=r"labels: this array is missing; the file holds images\.npy"):
        open_data(str(tmp_path), tmp_path / "work")
