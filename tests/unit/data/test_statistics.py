"""What a data set is normalised by, against numpy on its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.data.dataset import open_data
from planner.data.describe import describe
from planner.data.statistics import measure, measure_values
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


def test_images_of_a_program_are_measured_alike() -> None:
    images = random_images(9, 4, 6, 3)
    found = measure_values((image.tobytes() for image in images), 3)
    np.testing.assert_allclose(found.mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(found.std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-14)


def test_a_channel_that_is_the_same_everywhere_stays_as_wide_as_it_is() -> None:
    found = measure_values([bytes([7, 51] * 10)] * 3, 2)
    assert found.mean == (7 / 255, 0.2)
    assert found.std == (1.0, 1.0)
