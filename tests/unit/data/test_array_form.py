"""Arrays of any rank and type, written with numpy and read back as records by the child that prepares data."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from planner.data.dataset import open_data
from planner.data.prepare import Wanted
from planner.data.preparer import prepare
from planner.data.records import Records
from planner.errors import DataError, InputError
from planner.schema.inputs import InputDtype
from planner.schema.run_folder import RunFolder
from planner.tasks.base import class_of
from planner.tasks.kinds import CLASSIFICATION

LABELS = np.arange(20) % 2
STORED = {"uint8": "u1", "float32": "f4", "int64": "i4"}


def prepared(
    folder: Path, array: NDArray[Any], shape: tuple[int, ...], dtype: InputDtype, tokens: int = 0
) -> NDArray[Any]:
    """All samples, in the order of the array, as a run reads them: the label says which is which."""
    numbers = np.arange(len(array))
    np.savez(folder / "set.npz", images=array, labels=numbers)
    wanted = Wanted(
        str(folder / "set.npz"),
        str(folder / "work"),
        shape,
        len(array),
        "the model",
        CLASSIFICATION,
        0,
        input_dtype=dtype,
        tokens=tokens,
    )
    # A part of its own to test on, since no class has two samples.
    np.savez(folder / "set.npz", images=array, labels=numbers, test_images=array[:1], test_labels=numbers[:1])
    prepare(wanted)
    found: NDArray[Any] = np.zeros((len(array), *shape), STORED[dtype])
    with Records(RunFolder(folder / "work").records) as data:
        for index in range(data.training.samples):
            buffer = bytearray(data.training.record_bytes)
            label = class_of(data.training.read_into(index, memoryview(buffer)))
            found[label] = np.frombuffer(buffer, STORED[dtype]).reshape(shape)
    return found


FLOATS = ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "|u1", "<i2", ">i4", "|b1"]
WHOLE = ["|u1", "<u2", ">i2", "<i4", ">i8", "<u8"]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from(FLOATS), st.integers(0, 2**32))
def test_numbers_come_as_numpy_converts_them(shape: list[int], kind: str, seed: int) -> None:
    drawn = np.random.default_rng(seed).normal(0, 40, (12, *shape))
    array = drawn.astype(kind) if kind[1] == "f" else np.abs(drawn).astype(kind)
    stored = array.transpose(0, 2, 3, 1).copy() if len(shape) == 3 else array
    with TemporaryDirectory() as folder:
        assert_array_equal(prepared(Path(folder), stored, tuple(shape), "float32"), array.astype(np.float32))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 9), st.sampled_from(WHOLE), st.integers(0, 2**32))
def test_tokens_come_as_they_are(length: int, kind: str, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 100, (12, length)).astype(kind)
    with TemporaryDirectory() as folder:
        assert_array_equal(prepared(Path(folder), array, (length,), "int64", tokens=100), array.astype(np.int32))


def test_extents_of_one_do_not_matter(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(12, 30)).astype(np.float32)
    assert_array_equal(prepared(tmp_path, array, (1, 30), "float32")[:, 0], array)


def test_a_file_says_what_it_holds(tmp_path: Path) -> None:
    for kind, shape, dtype in (("f8", (9,), "float32"), ("i8", (9,), "int64"), ("u1", (4, 6), "uint8")):
        np.savez(tmp_path / "set.npz", x=np.ones((20, *shape), kind), y=LABELS)
        with open_data(str(tmp_path / "set.npz"), tmp_path) as data:
            assert (data.info.shape, data.info.dtype) == ((1, 4, 6) if dtype == "uint8" else shape, dtype)


@pytest.mark.parametrize(
    ("array", "dtype", "said"),
    [
        (np.full((20, 4), np.nan), "float32", r"set\.npz: images, record 0: holds NaN, infinity"),
        (np.full((20, 4), 1e300), "float32", r"record 0: holds NaN, infinity, or a number beyond float32"),
        (np.full((20, 4), 7), "int64", r"record 0: holds the token 7; the model knows 0 to 6"),
        (np.full((20, 4), -1), "int64", r"record 0: holds the token -1; the model knows 0 to 6"),
        (np.full((20, 4), 2**40), "int64", r"record 0: holds the token 1099511627776; the model knows 0 to 6"),
        (np.full((20, 4), 0.5), "int64", r"has fractional numbers of type '<f8'; tokens are whole numbers"),
        (np.full((20, 4), "a"), "float32", r"has elements of type '<U1'; numbers are needed"),
        (np.full((20, 5), 1.0), "float32", r"its samples are 5 of float32, but the model takes 4 of float32"),
    ],
)  # fmt: skip
def test_what_no_network_may_be_given(tmp_path: Path, array: NDArray[Any], dtype: InputDtype, said: str) -> None:
    np.savez(tmp_path / "set.npz", images=array, labels=LABELS)
    wanted = Wanted(
        str(tmp_path / "set.npz"),
        str(tmp_path / "work"),
        (4,),
        2,
        "the model",
        CLASSIFICATION,
        0,
        input_dtype=dtype,
        tokens=7 if dtype == "int64" else 0,
    )
    with pytest.raises((DataError, InputError), match=said):
        prepare(wanted)
    assert not RunFolder(tmp_path / "work").records.exists()
