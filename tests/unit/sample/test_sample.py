"""The bundled sample is what it says: shapes, balance, and record for record the original."""

from __future__ import annotations

import gzip
import math
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import planner.sample
from planner.sample import SAMPLE_FILE

ORIGINAL = Path("/usr/share/datasets/fashion-mnist")
PARTS = [("", "train", 4000), ("test_", "t10k", 1000)]


def load() -> dict[str, npt.NDArray[np.uint8]]:
    with np.load(SAMPLE_FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_members_have_the_shapes_that_the_readers_expect() -> None:
    found = {name: (array.shape, array.dtype, array.flags.c_contiguous) for name, array in load().items()}
    assert found == {
        "images": ((4000, 28, 28), np.dtype("uint8"), True),
        "labels": ((4000,), np.dtype("uint8"), True),
        "test_images": ((1000, 28, 28), np.dtype("uint8"), True),
        "test_labels": ((1000,), np.dtype("uint8"), True),
    }


@pytest.mark.parametrize(("prefix", "_", "count"), PARTS)
def test_ten_classes_are_balanced(prefix: str, _: str, count: int) -> None:
    labels = load()[f"{prefix}labels"]
    assert set(labels.tolist()) == set(range(10))
    # The original holds each class equally often, so a class count is binomial(count, 1/10): five deviations around it.
    tolerance = 5 * math.sqrt(count * 0.1 * 0.9)
    for label in range(10):
        assert abs(int((labels == label).sum()) - count / 10) <= tolerance


@pytest.mark.parametrize(("prefix", "_", "count"), PARTS)
def test_images_are_pictures_of_distinct_things(prefix: str, _: str, count: int) -> None:
    images = load()[f"{prefix}images"]
    assert images.min() == 0
    assert images.max() == 255
    distinct = {image.tobytes() for image in images}
    assert len(distinct) > 0.99 * count


@pytest.mark.skipif(not ORIGINAL.is_dir(), reason=f"the Debian package dataset-fashion-mnist is absent ({ORIGINAL})")
@pytest.mark.parametrize(("prefix", "original", "count"), PARTS)
def test_records_are_the_first_of_the_original(prefix: str, original: str, count: int) -> None:
    sample = load()
    with gzip.open(ORIGINAL / f"{original}-images-idx3-ubyte.gz") as file:
        assert file.read(16 + count * 784)[16:] == sample[f"{prefix}images"].tobytes()
    with gzip.open(ORIGINAL / f"{original}-labels-idx1-ubyte.gz") as file:
        assert file.read(8 + count)[8:] == sample[f"{prefix}labels"].tobytes()


def test_file_is_small_dated_by_no_clock_and_has_its_licence_beside_it() -> None:
    assert SAMPLE_FILE.stat().st_size <= 3_000_000
    with zipfile.ZipFile(SAMPLE_FILE) as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    licence = Path(planner.sample.__file__).with_name("LICENSE.fashion-mnist").read_text(encoding="utf-8")
    assert "The MIT License" in licence
    assert "Copyright (c) 2017 Zalando SE" in licence
