from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from planner.errors import InputError
from planner.python.values import sample_values
from planner.schema.inputs import InputDtype
from planner.schema.model import Flatten, Linear, Model, Unit


def model(shape: tuple[int, ...], dtype: InputDtype = "float32") -> Model:
    return Model("model/1", "m", shape, 3, (Unit("a", (Flatten("flatten"), Linear("linear", 3))),), input_dtype=dtype)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (torch.linspace(-3, 3, 12).reshape(3, 4), (3, 4)),
        (np.linspace(-3, 3, 12), (12,)),
        (np.linspace(-3, 3, 12), (1, 12)),
        (list(range(12)), (12,)),
        (np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3), (1, 2, 2, 3)),
    ],
)
def test_numbers_are_float32_as_they_are(given: Any, shape: tuple[int, ...]) -> None:
    found = np.frombuffer(sample_values(given, model(shape), 0, "d[0]"), np.float32)
    assert found.tolist() == np.asarray(given, np.float32).ravel().tolist()


def test_numbers_in_three_dimensions_lie_with_the_channels_last() -> None:
    given = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = np.frombuffer(sample_values(given, model((2, 3, 4)), 0, "d[0]"), np.float32)
    assert found.tolist() == given.transpose(1, 2, 0).ravel().tolist()


@pytest.mark.parametrize(
    ("given", "shape", "said"),
    [
        (np.array([1.0, np.inf]), (2,), r"d\[0\]: its input holds NaN, infinity"),
        (np.array([1.0, 1e300]), (2,), "or a number beyond float32"),
        (np.array(["a", "b"]), (2,), "its input is of <U1; numbers are needed"),
        (np.zeros(3), (2,), r"its input is 3; the plan's model takes 2 of float32"),
        (np.zeros(()), (1,), r"its input is a single number; the plan's model takes 1 of float32"),
    ],
)
def test_what_is_no_sample(given: Any, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        sample_values(given, model(shape), 0, "d[0]")
