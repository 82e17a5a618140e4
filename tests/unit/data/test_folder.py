from __future__ import annotations

import builtins
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from planner.data.dataset import open_data
from planner.errors import DataError
from tests.unit.data.support import Bytes, random_images, read_all, write_image

CLASSES = ("bird", "cat", "dog")


def write_classes(folder: Path, images: Bytes, suffix: str = "png") -> None:
    """Write image `i` (N×H×W×3) into class `i % 3`, under names that sort as the numbers do."""
    for index, pixels in enumerate(images):
        write_image(folder / CLASSES[index % 3] / f"{index:03}.{suffix}", pixels)


def by_class(images: Bytes) -> tuple[Bytes, list[int]]:
    """Return the images channels first, and their labels, as a folder of `write_classes` is ordered."""
    order = sorted(range(len(images)), key=lambda index: (index % 3, index))
    return images[order].transpose(0, 3, 1, 2), [index % 3 for index in order]


def test_every_image_comes_back(tmp_path: Path) -> None:
    # 200 images are several pieces of the list of names, the last one short.
    images = random_images(200, 5, 7, 3)
    write_classes(tmp_path / "set", images)
    right, right_labels = by_class(images)
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert data.info.label_names == CLASSES
        assert (data.info.train_samples, data.info.test_samples, data.info.classes) == (200, 0, 3)
        assert data.info.shape == (3, 5, 7)
        read, labels = read_all(data.train, (3, 5, 7))
        assert_array_equal(read, right)
        assert labels == right_labels == list(data.train.labels())
        assert data.storage_bytes == 200 * len("000.png\0")
    assert list((tmp_path / "work" / "data").iterdir()) == []


@pytest.mark.parametrize("test_folder", ["test", "val"])
def test_parts_of_their_own(tmp_path: Path, test_folder: str) -> None:
    images, test_images = random_images(12, 4, 4, 3), random_images(5, 4, 4, 3, seed=1)
    write_classes(tmp_path / "set" / "train", images)
    write_classes(tmp_path / "set" / test_folder, test_images)
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert (data.info.train_samples, data.info.test_samples) == (12, 5)
        for split, part in ((data.train, images), (data.test, test_images)):
            read, labels = read_all(split, (3, 4, 4))
            assert_array_equal(read, by_class(part)[0])
            assert labels == by_class(part)[1]


def test_a_class_without_test_images_keeps_the_labels_of_the_others(tmp_path: Path) -> None:
    images = random_images(12, 4, 4, 3)
    write_classes(tmp_path / "set" / "train", images)
    write_image(tmp_path / "set" / "test" / "dog" / "1.png", images[0])
    (tmp_path / "set" / "test" / "cat").mkdir()
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert read_all(data.test, (3, 4, 4))[1] == [2]


def test_test_is_taken_before_val_and_not_when_it_has_no_classes(tmp_path: Path) -> None:
    images = random_images(12, 4, 4, 3)
    write_classes(tmp_path / "set" / "train", images)
    write_classes(tmp_path / "set" / "val", images[:5])
    write_image(tmp_path / "set" / "test" / "unlabelled.png", images[0])
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert data.info.test_samples == 5
    write_classes(tmp_path / "set" / "test", images[:4])
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert data.info.test_samples == 4


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for index, name in enumerate(["bus", "train"] * 10):
        write_image(tmp_path / "set" / name / f"{index}.png", random_images(4, 4, 3))
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert data.info.label_names == ("bus", "train")


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg", "jpeg", "webp", "PNG"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    """Flat colours survive lossy compression to within a few steps."""
    colours = np.array([[200, 40, 90], [10, 250, 30], [90, 90, 220]] * 4, dtype=np.uint8)
    images = np.broadcast_to(colours[:, None, None], (12, 8, 8, 3))
    write_classes(tmp_path / "set", images, suffix)
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        read, labels = read_all(data.train, (3, 8, 8))
        assert (
            np.abs(read.astype(int) - colours[labels][:, :, None, None]).max()
            <= (suffix in ("jpg", "jpeg", "webp")) * 6
        )


def test_the_format_is_told_by_content(tmp_path: Path) -> None:
    images = random_images(12, 4, 4, 3)
    write_classes(tmp_path / "set", images)
    for path in list(tmp_path.glob("set/*/*.png")):
        path.rename(path.with_suffix(".jpg"))
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert_array_equal(read_all(data.train, (3, 4, 4))[0], by_class(images)[0])


def test_what_is_hidden_or_no_image_is_passed_over(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    (tmp_path / "set" / "cat" / ".hidden.png").write_bytes(b"")
    (tmp_path / "set" / "cat" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "set" / "cat" / "folder.png").mkdir()
    (tmp_path / "set" / ".git").mkdir()
    (tmp_path / "set" / "labels.txt").touch()
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert data.info.train_samples == 12
        assert data.info.classes == 3


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    strange = os.fsdecode(b"\xff\xfe\n.png")
    (tmp_path / "set" / "dog" / "011.png").rename(tmp_path / "set" / "dog" / strange)
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert len(read_all(data.train, (3, 4, 4))[1]) == 12


def test_most_images_decide_the_size_and_any_the_colour(tmp_path: Path) -> None:
    """One small grey picture, first by name, makes nothing grey and nothing small."""
    red = np.full((3, 4, 3), (255, 0, 0), np.uint8)
    for name in "ab":
        for index in range(10):
            write_image(tmp_path / "set" / name / f"{index}.png", red)
    write_image(tmp_path / "set" / "a" / "0.png", np.full((6, 9), 77, np.uint8))
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert data.info.shape == (3, 3, 4)
        right = np.array([[77, 77, 77], *[[255, 0, 0]] * 19])
        assert_array_equal(read_all(data.train, (3, 3, 4))[0], right[:, :, None, None].repeat(3, 2).repeat(4, 3))
        assert data.parts.notes == (
            "1 of 20 images without colour: read as grey in three channels",
            "1 of 20 images resized to 3×4; sizes are from 3 to 6 high and from 4 to 9 wide",
        )
    with open_data(str(tmp_path / "set"), tmp_path / "work", size=(1, 3, 4)) as data:
        # Red as grey: 0.299 · 255, ITU-R BT.601.
        assert set(read_all(data.train, (1, 3, 4))[0].flat) == {76, 77}
        assert data.parts.notes[0] == "19 of 20 images in colour: made grey"


def test_where_no_size_is_that_of_most_one_has_to_be_named(tmp_path: Path) -> None:
    for index in range(12):
        write_image(tmp_path / "set" / "ab"[index % 2] / f"{index}.png", random_images(4 + index % 3, 8, 3))
    with pytest.raises(DataError, match=r"from 4 to 6 high and from 8 to 8 wide.* --resize HxW .*: 5x8"):
        open_data(str(tmp_path / "set"), tmp_path / "work")
    with open_data(str(tmp_path / "set"), tmp_path / "work", size=(3, 5, 8)) as data:
        assert data.parts.notes == ("8 of 12 images resized to 5×8; sizes are from 4 to 6 high and from 8 to 8 wide",)


@pytest.mark.parametrize("size", [(3, 8, 6), (3, 20, 30), (1, 8, 6)])
def test_images_are_resized_as_torch_does_it(tmp_path: Path, size: tuple[int, int, int]) -> None:
    images = random_images(10, 16, 18, 3) if size[0] == 3 else random_images(10, 16, 18, 1).repeat(3, 3)
    write_classes(tmp_path / "set", images)
    right = torch.nn.functional.interpolate(
        torch.from_numpy(by_class(images)[0].copy()).float(), size[1:], mode="bilinear", antialias=True
    )
    with open_data(str(tmp_path / "set"), tmp_path / "work", size=size) as data:
        assert data.info.shape == size
        read, _ = read_all(data.train, size)
        assert np.abs(read - right[:, : size[0]].numpy()).max() <= 1.0


@pytest.mark.parametrize(("height", "width"), [(24, 32), (150, 200)])
def test_a_large_photograph_is_resized_within_a_few_steps(tmp_path: Path, height: int, width: int) -> None:
    """Waves of 24 pixels, decoded at a fraction of their size, still look like the whole picture made small."""
    y, x = np.mgrid[0:1200, 0:1600] * (2 * np.pi / 24)
    pixels = (np.stack([np.sin(x), np.sin(y), np.sin(x + y)], axis=2) * 90 + 128).astype(np.uint8)
    for name in "ab":
        for index in range(5):
            write_image(tmp_path / "set" / name / f"{index}.jpg", pixels)
    right = torch.nn.functional.interpolate(
        torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float(),
        (height, width),
        mode="bilinear",
        antialias=True,
    )
    size = (3, height, width)
    with open_data(str(tmp_path / "set"), tmp_path / "work", size=size) as data:
        read, _ = read_all(data.train, size)
        assert np.abs(read[0] - right[0].numpy()).max() <= 12


@pytest.mark.parametrize("channels", [2, 4])
def test_images_have_one_or_three_channels(tmp_path: Path, channels: int) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    with pytest.raises(DataError, match=f"1 channel .* or 3 .*; {channels} are wanted"):
        open_data(str(tmp_path / "set"), tmp_path / "work", size=(channels, 4, 4))


def test_palettes_and_transparency(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 3), (0, 128, 255), np.uint8)
    for index in range(10):
        write_image(tmp_path / "set" / "a" / f"{index}.png", pixels)
        (tmp_path / "set" / "b").mkdir(exist_ok=True)
        mode = ("P", "RGBA")[index % 2]
        Image.fromarray(pixels).convert(mode).save(tmp_path / "set" / "b" / f"{index}.png")
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        read, _ = read_all(data.train, (3, 4, 4))
        # A palette has colours near the picture's own; nothing is transparent.
        assert np.abs(read.astype(int) - pixels.transpose(2, 0, 1)).max() <= 32


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "set" / "bird" / "000.png")
    with pytest.raises(DataError, match="more than 8 bits a channel") as caught:
        open_data(str(tmp_path / "set"), tmp_path / "work")
    assert caught.value.file == str(tmp_path / "set" / "bird" / "000.png")


@pytest.mark.parametrize("content", [b"", b"GIF89a" + bytes(50), b"text"])
def test_what_is_no_image_is_named_at_opening(tmp_path: Path, content: bytes) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    path = tmp_path / "set" / "cat" / "007.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a PNG, JPEG, BMP or WebP image" if content else "is empty") as caught:
        open_data(str(tmp_path / "set"), tmp_path / "work")
    assert caught.value.file == str(path)


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    (tmp_path / "set" / "cat" / "lost.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"lost\.png: cannot be read \(No such file"):
        open_data(str(tmp_path / "set"), tmp_path / "work")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_a_damaged_image_is_named_when_it_is_read(tmp_path: Path, suffix: str) -> None:
    write_classes(tmp_path / "set", random_images(12, 40, 40, 3), suffix)
    path = tmp_path / "set" / "cat" / f"004.{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    image = memoryview(bytearray(3 * 40 * 40))
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        data.train.read_into(4, image)
        with pytest.raises(DataError, match="cannot be decoded") as caught:
            data.train.read_into(5, image)
        assert caught.value.file == str(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # before our own limit is looked at
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_ruined_images_give_a_clear_error_or_pixels(tmp_path: Path, suffix: str) -> None:
    write_classes(tmp_path / "set", random_images(10, 9, 9, 3), suffix)
    path = tmp_path / "set" / "bird" / f"000.{suffix}"
    whole = path.read_bytes()
    chance = np.random.default_rng(3)
    image = memoryview(bytearray(3 * 9 * 9))
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        for _ in range(300):
            ruined = bytearray(whole)
            for _ in range(chance.integers(1, 4)):
                ruined[chance.integers(min(len(ruined), 120))] = chance.integers(256)
            path.write_bytes(ruined)
            try:
                data.train.read_into(0, image)
            except DataError as error:
                assert error.file == str(path)


def test_no_other_format_is_decoded(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        Image.new("L", (4, 4)).save(tmp_path / "set" / "bird" / "000.png", format="GIF")
        with pytest.raises(DataError, match="cannot be decoded"):
            data.train.read_into(0, memoryview(bytearray(48)))


def write_png_header(path: Path, width: int, height: int) -> None:
    """Write a PNG that only says how large it would be: grey, 8 bits."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", 0))


def test_an_image_beyond_the_limits_is_not_decoded(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    write_png_header(tmp_path / "set" / "bird" / "000.png", 8193, 1)
    with pytest.raises(DataError, match="1×8193 is beyond 8192×8192"):
        open_data(str(tmp_path / "set"), tmp_path / "work")
    write_png_header(tmp_path / "set" / "bird" / "000.png", 4, 4)
    with open_data(str(tmp_path / "set"), tmp_path / "work", size=(3, 4, 4)) as data:
        write_png_header(tmp_path / "set" / "bird" / "000.png", 8193, 1)  # since it was looked at
        with pytest.raises(DataError, match="is beyond"):
            data.train.read_into(0, memoryview(bytearray(48)))
        write_png_header(tmp_path / "set" / "bird" / "000.png", 60_000, 60_000)  # where Pillow itself refuses
        with pytest.raises(DataError, match="cannot be decoded"):
            data.train.read_into(0, memoryview(bytearray(48)))


def test_a_single_class(tmp_path: Path) -> None:
    for index in range(12):
        write_image(tmp_path / "set" / "only" / f"{index}.png", random_images(4, 4, 3))
    with pytest.raises(DataError, match="has 1 class; training needs at least 2"):
        open_data(str(tmp_path / "set"), tmp_path / "work")


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    for name in ("ant", "cow", "fly"):  # before, between and behind the others
        (tmp_path / "set" / name).mkdir()
        with pytest.raises(DataError, match="no image in this class folder") as caught:
            open_data(str(tmp_path / "set"), tmp_path / "work")
        assert caught.value.file == str(tmp_path / "set" / name)
        (tmp_path / "set" / name).rmdir()


def test_a_class_that_only_the_test_part_has(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "train", random_images(12, 4, 4, 3))
    write_image(tmp_path / "set" / "test" / "wolf" / "1.png", random_images(4, 4, 3))
    with pytest.raises(DataError, match=r"this class is not in .*train") as caught:
        open_data(str(tmp_path / "set"), tmp_path / "work")
    assert caught.value.file == str(tmp_path / "set" / "test" / "wolf")


def test_a_test_part_without_images(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "train", random_images(12, 4, 4, 3))
    (tmp_path / "set" / "test" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="test: holds no samples"):
        open_data(str(tmp_path / "set"), tmp_path / "work")


def test_indexes_and_buffers_are_checked(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "train", random_images(12, 4, 4, 3))
    write_classes(tmp_path / "set" / "test", random_images(3, 4, 4, 3))
    with open_data(str(tmp_path / "set"), tmp_path / "work") as data:
        assert data.test is not None
        for index in (-1, 3):
            with pytest.raises(IndexError, match=f"sample {index} of 3"):
                data.test.read_into(index, memoryview(bytearray(48)))
        with pytest.raises(ValueError, match="47 bytes given for an image of 48"):
            data.test.read_into(0, memoryview(bytearray(47)))


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(tmp_path / "set", random_images(12, 4, 4, 3))
    for name in [name for name in sys.modules if name.startswith("PIL")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def refuse(name: str, *arguments: object) -> object:
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DataError, match=r"needs Pillow: pip install 'neuroflux-planner\[images\]'"):
        open_data(str(tmp_path / "set"), tmp_path / "work")
