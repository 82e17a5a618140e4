"""What a sample is: limits, and bytes by numpy's count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import limits
from planner.schema.inputs import InputDtype, check_input, copied_bytes, sample_bytes, tensor_bytes
from planner.schema.preprocessing import USUAL
from planner.schema.terms import TrainingTerms

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


@given(SHAPES)
def test_bytes_are_those_of_arrays(shape: tuple[int, ...]) -> None:
    stored = {"uint8": np.uint8, "float32": np.float32, "int64": np.int32}
    taken = {"uint8": np.float32, "float32": np.float32, "int64": np.int64}
    for dtype in get_args(InputDtype):
        assert sample_bytes(dtype, shape) == np.zeros(shape, stored[dtype]).nbytes
        assert tensor_bytes(dtype, shape) == np.zeros(shape, taken[dtype]).nbytes
        assert copied_bytes(dtype, shape) in (0, tensor_bytes(dtype, shape))
    check_input(shape)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((), "input has 0 dimensions; a sample has 1 to 4"),
        ((1,) * 5, "input has 5 dimensions; a sample has 1 to 4"),
        ((0,), r"input\[0\] is 0; it must lie between 1 and"),
        ((9, limits.MAX_LENGTH + 1), r"input\[1\] is \d+; it must lie between 1 and"),
        ((3, 32, 8193), r"input\[2\] \(width\) is 8193; it must lie between 1 and 8192"),
        ((limits.MAX_LENGTH, 1024), "a sample has 4294967296 numbers"),
    ],
)
def test_samples_that_are_none(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_input(shape)


@pytest.mark.parametrize(
    ("change", "shape", "dtype", "said"),
    [
        ({"augment": "flip"}, (9, 128), "float32", "augment is flip; it is none where samples are no images"),
        ({"augment": "crop"}, (3, 8, 8), "float32", "here they are 3×8×8 of float32"),
        ({"resize": "bilinear"}, (20,), "int64", "resize is bilinear; .*: here they are 20 tokens"),
        ({"normalisation": USUAL}, (9,), "int64", "mean and std are for numbers; here samples are 9 tokens"),
    ],
)
def test_what_is_done_with_images_alone(
    change: dict[str, Any], shape: tuple[int, ...], dtype: InputDtype, said: str
) -> None:
    training = replace(TrainingTerms(epochs=4).training(), **change)
    training.check_images((3, 8, 8), "uint8")
    with pytest.raises(ValueError, match=said):
        training.check_images(shape, dtype)
