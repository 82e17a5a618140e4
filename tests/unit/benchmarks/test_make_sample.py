"""Making the sample: IDX files written here by the format's description go in, the same records come out."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks import make_sample
from planner.errors import DataError
from planner.sample import SAMPLE_FILE

IMAGE_BYTES = 28 * 28
FILES = {
    "train-images-idx3-ubyte.gz": (4100, (28, 28)),
    "train-labels-idx1-ubyte.gz": (4100, ()),
    "t10k-images-idx3-ubyte.gz": (1100, (28, 28)),
    "t10k-labels-idx1-ubyte.gz": (1100, ()),
}


def idx_bytes(count: int, rest: tuple[int, ...], elements: bytes) -> bytes:
    shape = (count, *rest)
    return bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape) + elements


def write_idx(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, compresslevel=1))


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """A folder with IDX files whose labels go round the ten classes and whose images are their record's number."""
    for name, (count, rest) in FILES.items():
        if rest:
            elements = b"".join(number.to_bytes(2, "big") * (IMAGE_BYTES // 2) for number in range(count))
        else:
            elements = bytes(number % 10 for number in range(count))
        write_idx(tmp_path / name, idx_bytes(count, rest, elements))
    return tmp_path


def test_takes_the_first_records_and_counts_their_classes(originals: Path) -> None:
    target = originals / "sample.npz"
    assert make_sample.make_sample(originals, target) == {"train": [400] * 10, "test": [100] * 10}
    with np.load(target) as archive:
        assert archive["images"].shape == (4000, 28, 28)
        assert archive["test_images"].shape == (1000, 28, 28)
        assert archive["images"][3999].tobytes() == (3999).to_bytes(2, "big") * (IMAGE_BYTES // 2)
        assert archive["labels"].tolist() == [number % 10 for number in range(4000)]
        assert archive["test_labels"].tolist() == [number % 10 for number in range(1000)]
    assert not target.with_name("sample.npz.part").exists()


def test_same_records_give_the_same_bytes(originals: Path) -> None:
    first, second = originals / "first.npz", originals / "second.npz"
    make_sample.make_sample(originals, first)
    make_sample.make_sample(originals, second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(bytes([0, 0, 13, 1, 0, 0, 16, 4])), "not an IDX file of unsigned bytes"),
        (gzip.compress(bytes([0, 1, 8, 1, 0, 0, 16, 4])), "not an IDX file of unsigned bytes"),
        (gzip.compress(bytes([0, 0, 8, 0])), "not an IDX file of unsigned bytes"),
        (gzip.compress(idx_bytes(3999, (), bytes(4000))), "holds fewer than the 4000 records needed"),
        (gzip.compress(idx_bytes(4000, (), bytes(3999))), "holds fewer than the 4000 records needed"),
        (gzip.compress(b"\0\0"), "not a whole gzipped IDX file"),
        (gzip.compress(idx_bytes(4000, (), bytes(range(250)) * 16))[:200], "not a whole gzipped IDX file"),
        (b"plainly no gzip", "not a whole gzipped IDX file"),
        (gzip.compress(b"")[:10] + b"\xff" * 40, "not a whole gzipped IDX file"),
    ],
    ids=["type", "magic", "scalar", "few", "short", "header", "truncated", "not-gzip", "bad-deflate"],
)
def test_refuses_a_broken_file_by_name(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem) as caught:
        make_sample.read_idx(path, 4000)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    "labels",
    [bytes(4000), bytes(number % 9 for number in range(4000)), bytes(number % 11 for number in range(4000))],
    ids=["one-class", "nine-classes", "eleven-classes"],
)
def test_refuses_labels_that_are_not_ten_balanced_classes(originals: Path, labels: bytes) -> None:
    write_idx(originals / "train-labels-idx1-ubyte.gz", idx_bytes(4000, (), labels))
    with pytest.raises(DataError, match="not balanced over 10 classes"):
        make_sample.make_sample(originals, originals / "sample.npz")
    assert not (originals / "sample.npz").exists()


def test_command_names_the_missing_file_and_leaves_the_sample_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = SAMPLE_FILE.read_bytes()
    assert make_sample.main([str(tmp_path)]) == 2
    assert str(tmp_path / "train-images-idx3-ubyte.gz") in capsys.readouterr().err
    assert SAMPLE_FILE.read_bytes() == before
