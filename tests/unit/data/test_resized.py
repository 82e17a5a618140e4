"""Images of arrays resized as pictures of a folder are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from planner.data.dataset import open_data
from planner.data.prepare import Wanted
from planner.data.preparer import prepare
from planner.data.records import Records
from planner.errors import DataError, InputError
from planner.schema.run_folder import RunFolder
from planner.tasks.kinds import CLASSIFICATION
from tests.unit.data.support import cycling_labels, random_images, read_all

LABELS = cycling_labels(20, 4)


def write(path: Path, channels: int) -> np.ndarray:
    images = random_images(20, 9, 6 * channels).reshape(20, 9, 6, channels)
    np.savez(path, images=images, labels=LABELS)
    return images


@pytest.mark.parametrize("size", [(4, 11), (18, 3)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_channel_is_what_pillow_makes_of_the_image(tmp_path: Path, channels: int, size: tuple[int, int]) -> None:
    images = write(tmp_path / "set.npz", channels)
    with open_data(str(tmp_path / "set.npz"), tmp_path, resize=size) as data:
        assert data.parts.shape == (channels, *size)
        assert data.parts.notes[-1] == f"all images are 9×6: resized to {size[0]}×{size[1]}"
        found, labels = read_all(data.train, data.parts.shape)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    whole = [Image.fromarray(image[..., 0] if channels == 1 else image, mode) for image in images]
    expected = [np.asarray(one.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(*size, channels) for one in whole]
    assert_array_equal(found, np.stack(expected).transpose(0, 3, 1, 2))
    assert_array_equal(labels, LABELS)


def test_images_of_the_right_size_are_left_alone(tmp_path: Path) -> None:
    images = write(tmp_path / "set.npz", 1)
    with open_data(str(tmp_path / "set.npz"), tmp_path, resize=(9, 6)) as data:
        assert not data.parts.notes
        assert_array_equal(read_all(data.train, (1, 9, 6))[0], images.transpose(0, 3, 1, 2))


def test_a_run_resizes_where_its_plan_says_so_and_refuses_otherwise(tmp_path: Path) -> None:
    write(tmp_path / "set.npz", 3)
    wanted = Wanted(str(tmp_path / "set.npz"), str(tmp_path / "run"), (3, 5, 5), 4, "the model", CLASSIFICATION, 0)
    with pytest.raises(InputError, match=r"3×9×6, but the model takes 3×5×5 \(--resize brings images to it\)"):
        prepare(wanted)
    prepared = prepare(replace(wanted, resize="bilinear"))
    assert prepared.description.input == (3, 5, 5)
    with Records(RunFolder(tmp_path / "run").records) as records:
        assert records.train.record_bytes == 75
    again = prepare(replace(wanted, resize="bilinear", known=prepared.description))
    assert again.reused


def test_channels_are_not_made(tmp_path: Path) -> None:
    write(tmp_path / "set.npz", 1)
    wanted = Wanted(str(tmp_path / "set.npz"), str(tmp_path / "run"), (3, 5, 5), 4, "the model", CLASSIFICATION, 0)
    with pytest.raises(InputError, match=r"images are 1×5×5, but the model takes 3×5×5$"):
        prepare(replace(wanted, resize="bilinear"))


def test_masks_are_resized_to_the_nearest_pixel(tmp_path: Path) -> None:
    masks = random_images(20, 9, 6) % 3
    np.savez(tmp_path / "set.npz", images=random_images(20, 9, 6), labels=masks)
    with open_data(str(tmp_path / "set.npz"), tmp_path, resize=(4, 5), task=None) as data:
        assert (data.info.labels.extents, data.train.label_bytes) == ((4, 5), 20)
        found = [data.train.read_into(index, memoryview(bytearray(20))) for index in range(20)]
    assert found == [Image.fromarray(mask).resize((5, 4), Image.Resampling.NEAREST).tobytes() for mask in masks]
    np.savez(tmp_path / "other.npz", images=random_images(20, 9, 6), labels=masks[:, :8])
    with pytest.raises(DataError, match="its masks are 8×6, but its images are 9×6"):
        open_data(str(tmp_path / "other.npz"), tmp_path, resize=(4, 5), task=None)


def test_channels_come_first_where_the_model_has_as_many(tmp_path: Path) -> None:
    images = random_images(20, 3, 9, 6)
    np.savez(tmp_path / "set.npz", images=images, labels=LABELS)
    with open_data(str(tmp_path / "set.npz"), tmp_path, size=(3, 9, 4), resize=(9, 4)) as data:
        found = read_all(data.train, (3, 9, 4))[0]
    one = Image.fromarray(images[7].transpose(1, 2, 0)).resize((4, 9), Image.Resampling.BILINEAR)
    assert_array_equal(found[7], np.asarray(one).transpose(2, 0, 1))
