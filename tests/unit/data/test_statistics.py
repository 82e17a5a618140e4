"""What a data set is normalised by, against numpy on its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.data.dataset import open_data
from planner.data.describe import describe
from planner.data.statistics import measure, measure_values
from planner.errors import InputError
from tests.unit.data.support import cycling_labels, random_images


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_that_of_all_but_what_is_tested_on(tmp_path: Path, channels: int) -> None:
    images = random_images(40, 7, 5, channels)
    images[..., 0] //= 3
    np.savez(tmp_path / "set.npz", images=images, labels=cycling_labels(40, 4))
    with open_data(str(tmp_path / "set.npz"), tmp_path) as data:
        found = measure(data, seed=3)
        parts = list(describe(data, 3).draw.parts(data.train.labels()))
        others = measure(data, seed=4)
    assert parts.count("test") == 4
    kept = images[[part != "test" for part in parts]] / 255
    np.testing.assert_allclose(found.mean, kept.mean(axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(found.std, kept.std(axis=(0, 1, 2)), rtol=1e-14)
    assert found != others


@pytest.mark.parametrize("shape", [(5,), (3, 11), (2, 4, 6)])
def test_numbers_are_measured_in_float64(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Far from 0, where a sum of squares would lose the deviation."""
    numbers = np.random.default_rng(0).normal(3e4, 2, (40, *shape)).astype(np.float32)
    np.savez(tmp_path / "set.npz", images=numbers, labels=cycling_labels(40, 4))
    with open_data(str(tmp_path / "set.npz"), tmp_path, size=shape, dtype="float32") as data:
        found = measure(data, seed=3)
        kept = numbers[[part != "test" for part in describe(data, 3).draw.parts(data.train.labels())]]
    axes = (0, *range(2, 1 + len(shape)))
    np.testing.assert_allclose(found.mean, kept.mean(axis=axes, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(found.std, kept.std(axis=axes, dtype=np.float64), rtol=1e-9)
    written = [np.moveaxis(each, 0, -1) if len(shape) == 3 else each for each in kept]
    assert measure_values((each.tobytes() for each in written), "float32", shape).mean == pytest.approx(found.mean)


def test_tokens_have_neither() -> None:
    with pytest.raises(InputError, match="mean and std are of numbers; the model takes 7 tokens"):
        measure_values([], "int64", (7,))


def test_images_of_a_program_are_measured_alike() -> None:
    images = random_images(9, 4, 6, 3)
    found = measure_values((image.tobytes() for image in images), "uint8", (3, 4, 6))
    np.testing.assert_allclose(found.mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(found.std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-14)


def test_a_channel_that_is_the_same_everywhere_stays_as_wide_as_it_is() -> None:
    found = measure_values([bytes([7, 51] * 10)] * 3, "uint8", (2, 2, 5))
    assert found.mean == (7 / 255, 0.2)
    assert found.std == (1.0, 1.0)
