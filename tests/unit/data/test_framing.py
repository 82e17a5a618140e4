"""Resized to a shorter side and cut: folders, masks, arrays and data sets of Python, each as Pillow has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from planner.data.dataset import open_data
from planner.data.framing import resized_extents
from planner.data.pictures import decode
from planner.errors import DataError, InputError
from planner.model.zoo import from_zoo
from planner.python.datasets import mapped_part
from planner.tasks.kinds import USUAL
from tests.unit.data.support import cycling_labels, random_images, read_all, write_image

SIDE, CROP = 9, (7, 6)
BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST


def as_torchvision(image: Image.Image, by: Image.Resampling = BILINEAR) -> Image.Image:
    """`Resize(9)` and `CenterCrop((7, 6))` by the formulas in torchvision.transforms.functional."""
    width, height = image.size
    short, long = (width, height) if width <= height else (height, width)
    longer = int(SIDE * long / short)
    resized = image.resize((SIDE, longer) if width <= height else (longer, SIDE), by)
    top, left = round((resized.height - CROP[0]) / 2.0), round((resized.width - CROP[1]) / 2.0)
    return resized.crop((left, top, left + CROP[1], top + CROP[0]))


@pytest.mark.parametrize("extents", [(20, 31), (31, 20), (9, 9), (7, 6), (5, 16), (10, 9), (12, 12)])
def test_a_folders_pictures_and_masks_are_torchvisions(tmp_path: Path, extents: tuple[int, int]) -> None:
    images, masks = random_images(10, *extents, 3), random_images(10, *extents) % 3
    for index in range(10):
        write_image(tmp_path / "set" / "images" / f"{index}.png", images[index])
        write_image(tmp_path / "set" / "masks" / f"{index}.png", masks[index])
    task = USUAL["segmentation"]
    with open_data(str(tmp_path / "set"), tmp_path, resize=CROP, shorter_side=SIDE, task=task) as data:
        assert data.info.shape == (3, *CROP)
        assert (
            f"a shorter side of 9, and their middle 7×6 cut out; all are {extents[0]}×{extents[1]}"
            in data.parts.notes[-1]
        )
        image = bytearray(3 * CROP[0] * CROP[1])
        for index in range(10):
            label = data.train.read_into(index, memoryview(image))
            planes = np.frombuffer(image, np.uint8).reshape(3, *CROP)
            assert planes.transpose(1, 2, 0).tobytes() == as_torchvision(Image.fromarray(images[index])).tobytes()
            assert label == as_torchvision(Image.fromarray(masks[index]), NEAREST).tobytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_and_data_sets_of_python_are_the_same(tmp_path: Path, channels: int) -> None:
    images = random_images(12, 10, 17, channels)
    np.savez(tmp_path / "set.npz", images=images, labels=cycling_labels(12, 3))
    pictures = [as_torchvision(Image.fromarray(image.squeeze())) for image in images]
    expected = [np.asarray(picture).reshape(*CROP, channels) for picture in pictures]
    with open_data(str(tmp_path / "set.npz"), tmp_path, resize=CROP, shorter_side=SIDE) as data:
        assert (
            data.parts.notes[-1] == "all images are 10×17: resized to a shorter side of 9, and their middle 7×6 cut out"
        )
        found, _ = read_all(data.train, (channels, *CROP))
    assert found.tobytes() == np.stack(expected).transpose(0, 3, 1, 2).tobytes()
    model = from_zoo("cnn6", (channels, *CROP), 3)
    part = mapped_part([(image, 0) for image in images], model, "", "data", SIDE)
    assert b"".join(values for values, _ in part.samples) == np.stack(expected).tobytes()


def test_images_of_the_inputs_size_are_resized_and_cut_all_the_same(tmp_path: Path) -> None:
    images = random_images(12, *CROP)
    np.savez(tmp_path / "set.npz", images=images, labels=cycling_labels(12, 3))
    with open_data(str(tmp_path / "set.npz"), tmp_path, resize=CROP, shorter_side=SIDE) as data:
        found, _ = read_all(data.train, (1, *CROP))
    assert found[3].tobytes() == as_torchvision(Image.fromarray(images[3])).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_cut_as_people_see_it(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(random_images(20, 31, 3))
    exif = Image.Exif()
    exif[0x112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    found = np.frombuffer(decode(tmp_path / "a.png", (3, *CROP), SIDE), np.uint8).reshape(*CROP, 3)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    turned = image.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else image
    difference = np.abs(found.astype(int) - np.asarray(as_torchvision(turned), int))
    assert difference.max() <= 1  # rows and columns are resized in the other order


def test_what_would_be_too_long_is_refused_by_its_name(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", random_images(1, 2000))
    with pytest.raises(DataError, match=r"a.png: is 1×2000; with a shorter side of 9 the other one would be 18000"):
        decode(tmp_path / "a.png", (1, *CROP), SIDE)
    assert resized_extents("a", (3, 10), CROP, SIDE) == (9, 30)
    np.savez(tmp_path / "set.npz", images=random_images(12, 1, 2000), labels=cycling_labels(12, 3))
    with pytest.raises(InputError, match=r"set.npz: is 1×2000"):
        open_data(str(tmp_path / "set.npz"), tmp_path, resize=CROP, shorter_side=SIDE)
