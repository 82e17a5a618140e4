"""Folders of images with masks: every layout, numbers as Pillow and numpy have them, and what is refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from planner.data.dataset import check_fits, open_data
from planner.data.describe import describe
from planner.data.prepare import Wanted
from planner.data.preparer import prepare
from planner.data.records import Records
from planner.data.split import Split
from planner.errors import DataError, InputError
from planner.schema.run_folder import RunFolder
from planner.tasks.kinds import CLASSIFICATION, USUAL
from planner.tasks.segmentation import Segmentation
from tests.unit.data.support import random_images, write_image

COUNT, HEIGHT, WIDTH = 12, 6, 5
SEGMENTATION = USUAL["segmentation"]
IMAGES = random_images(COUNT, HEIGHT, WIDTH, 3)
MASKS = np.where(random_images(COUNT, HEIGHT, WIDTH, seed=1) < 30, 255, random_images(COUNT, HEIGHT, WIDTH, seed=2) % 3)


def write_mask(path: Path, mask: Any, mode: str = "L") -> None:
    """Write class numbers as grey values, or as indices of a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask.astype(np.uint8))
    if mode == "P":
        image.putpalette(bytes(random_images(768, seed=3)))
    image.save(path)


def write_set(folder: Path, images: str = "images", masks: str = "masks", samples: range = range(COUNT)) -> None:
    for index in samples:
        write_image(folder / images / f"{index:02d}.png", IMAGES[index])
        write_mask(folder / masks / f"{index:02d}.png", MASKS[index], "P" if index % 2 else "L")


def labels_of(split: Split | None) -> list[bytes]:
    assert split is not None
    image = memoryview(bytearray(split.record_bytes))
    return [split.read_into(index, image) for index in range(split.samples)]


def masks_of(*indices: int) -> list[bytes]:
    return [MASKS[index].astype(np.uint8).tobytes() for index in indices]


def test_grey_values_and_indices_of_palettes_are_the_classes(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    (tmp_path / "set" / "README.md").write_text("about")
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert labels_of(data.train) == masks_of(*range(COUNT))
        image = bytearray(3 * HEIGHT * WIDTH)
        data.train.read_into(7, memoryview(image))
        assert bytes(image) == IMAGES[7].transpose(2, 0, 1).tobytes()
        found = describe(data, 0).description
    assert (found.layout, found.labels, found.classes, found.label_bytes) == ("masks", "mask", 3, HEIGHT * WIDTH)
    assert found.class_pixels == tuple(np.bincount(MASKS.reshape(-1), minlength=256)[:3])
    assert found.ignored_pixels == np.count_nonzero(MASKS == 255)
    assert found.notes == ("left out: 1 file (1 .md)",)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", [0, 3])
def test_few_bits_a_pixel_are_numbers_from_0(tmp_path: Path, bits: int, kind: int) -> None:
    mask = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 2**bits
    rows = b""
    for row in mask:
        packed = "".join(f"{number:0{bits}b}" for number in row)
        packed = packed.ljust(-(-len(packed) // 8) * 8, "0")
        rows += b"\0" + int(packed, 2).to_bytes(len(packed) // 8, "big")
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, kind, 0, 0, 0)
    chunks = [(b"IHDR", head), *([(b"PLTE", bytes(range(48)))] if kind else []), (b"IDAT", zlib.compress(rows))]
    png = b"\x89PNG\r\n\x1a\n"
    for name, body in (*chunks, (b"IEND", b"")):
        png += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    write_set(tmp_path / "set")
    (tmp_path / "set" / "masks" / "03.png").write_bytes(png)
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert labels_of(data.train)[3] == mask.astype(np.uint8).tobytes()


@pytest.mark.parametrize("size", [(3, 9), (12, 10), (4, 2)])
def test_masks_are_resized_to_the_nearest_pixel_where_images_are_resized(tmp_path: Path, size: tuple[int, int]) -> None:
    write_set(tmp_path / "set")
    with open_data(str(tmp_path / "set"), tmp_path, resize=size, task=SEGMENTATION) as data:
        assert data.info.labels.extents == size
        found = labels_of(data.train)
    for mask, label in zip(MASKS, found, strict=True):
        rows, columns = (
            ((np.arange(wanted) + 0.5) * had / wanted).astype(int)
            for wanted, had in zip(size, (HEIGHT, WIDTH), strict=True)
        )
        assert label == mask[rows][:, columns].astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{}/images", "{}/masks"),
        ("images/{}", "masks/{}"),
        ("Images/{}/city", "annotations/{}/city"),
        ("{}", "{}_masks"),
        ("{}", "{}annot"),
    ],
)
def test_parts_are_folders_above_below_or_beside(tmp_path: Path, images: str, masks: str) -> None:
    parts = {"train": range(8), "val": range(8, 10), "test": range(10, 12)}
    for part, samples in parts.items():
        write_set(tmp_path / "set", images.format(part), masks.format(part), samples)
    for task in (SEGMENTATION, None):
        with open_data(str(tmp_path / "set"), tmp_path, task=task) as data:
            assert labels_of(data.train) == masks_of(*range(8))
            assert labels_of(data.validation) == masks_of(8, 9)
            assert labels_of(data.test) == masks_of(10, 11)
            assert not data.parts.notes


def test_a_validation_part_alone_is_tested_on(tmp_path: Path) -> None:
    write_set(tmp_path / "set", "train/images", "train/masks", range(10))
    write_set(tmp_path / "set", "val/images", "val/masks", range(10, 12))
    write_image(tmp_path / "set" / "test" / "images" / "a.png", IMAGES[0])
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert (data.validation, labels_of(data.test)) == (None, masks_of(10, 11))
        assert data.parts.notes == (
            "left out: the folder 'test', which has no masks",
            "there is no test part: the validation part is tested on",
        )


def test_voc_is_parted_by_its_lists(tmp_path: Path) -> None:
    write_set(tmp_path / "set", "JPEGImages", "SegmentationClass")
    write_set(tmp_path / "set", "SegmentationObject", "Annotations", range(1))
    (tmp_path / "set" / "SegmentationClass" / "00.png").unlink()  # most of VOC's images have none
    lists = tmp_path / "set" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("03\n01\n")
    (lists / "val.txt").write_text("".join(f"{index:02d}\n" for index in range(4, 12)))
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert labels_of(data.train) == masks_of(1, 3)
        assert labels_of(data.test) == masks_of(*range(4, 12))
    (lists / "train.txt").write_text("01\n00\n")
    with pytest.raises(DataError, match=r"train.txt: names '00', of which there is no mask"):
        open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION)
    (lists / "train.txt").write_text("01\n44\n")
    with pytest.raises(DataError, match=r"train.txt: names '44', of which there is no image"):
        open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION)


def test_files_without_a_partner_are_named(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    for index in (2, 5):
        (tmp_path / "set" / "masks" / f"{index:02d}.png").unlink()
    write_mask(tmp_path / "set" / "masks" / "zebra.png", MASKS[0])
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert data.train.samples == COUNT - 2
        assert data.parts.notes == (
            "left out: 2 images without a mask (02.png, 05.png)",
            "left out: 1 mask without an image (zebra.png)",
        )


@pytest.mark.parametrize("name", ["{}_mask.png", "{}.bmp"])
def test_names_may_end_otherwise(tmp_path: Path, name: str) -> None:
    for index in range(COUNT):
        write_image(tmp_path / "set" / "imgs" / f"a{index:02d}.jpg", IMAGES[index])
        write_mask(tmp_path / "set" / "labels" / name.format(f"a{index:02d}"), MASKS[index])
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert labels_of(data.train) == masks_of(*range(COUNT))


def test_names_with_other_suffixes_are_in_the_order_of_what_is_the_same(tmp_path: Path) -> None:
    names = ["a", "a-b", "a.b", "a b", "A", "é", "10", "9", "a_mask", "b/a", "b"]
    for index, name in enumerate(names):
        write_image(tmp_path / "set" / "images" / f"{name}.{'jpg' if index % 2 else 'png'}", IMAGES[index])
        write_mask(tmp_path / "set" / "masks" / f"{name}.png", MASKS[index])
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert sorted(labels_of(data.train)) == sorted(masks_of(*range(len(names))))
        assert not data.parts.notes


def _colour(folder: Path) -> None:
    write_image(folder / "masks" / "04.png", IMAGES[4])


def _grey_alpha(folder: Path) -> None:
    Image.new("LA", (WIDTH, HEIGHT)).save(folder / "masks" / "04.png")


def _deep(folder: Path) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(folder / "masks" / "04.png")


def _small(folder: Path) -> None:
    write_mask(folder / "masks" / "04.png", MASKS[4][:5])


def _jpeg(folder: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(MASKS[4].astype(np.uint8)).save(stream, "JPEG")
    (folder / "masks" / "04.png").write_bytes(stream.getvalue())


def _cut(folder: Path) -> None:
    path = folder / "masks" / "04.png"
    path.write_bytes(path.read_bytes()[:-25])


def _twice(folder: Path) -> None:
    write_mask(folder / "masks" / "04.bmp", MASKS[4])


def _two_images(folder: Path) -> None:
    write_image(folder / "images" / "04.jpg", IMAGES[4])


def _no_partner(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        path.rename(path.with_suffix(".tif"))


def _binary(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        write_mask(path, np.where(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 2, 255, 0))


def _one_class(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        write_mask(path, np.zeros((HEIGHT, WIDTH)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_colour, r"masks/04.png: is in colour: a mask has the number of a class for every pixel"),
        (_grey_alpha, r"masks/04.png: has transparency; a mask is grey"),
        (_deep, r"masks/04.png: has 16 bits a pixel"),
        (_small, r"masks/04.png: is 5×5, but its image is 6×5"),
        (_jpeg, r"masks/04.png: is a JPEG picture, which does not keep numbers as they are"),
        (_cut, r"masks/04.png: cannot be decoded"),
        (_twice, r"masks: has two masks of one name, 04.bmp and 04.png; remove one"),
        (_two_images, r"images: has two images of one name, 04.jpg and 04.png; remove one"),
        (_no_partner, r"holds no image that has a mask.*left out: 12 images without a mask.*\(12 .tif\)"),
        (_binary, r"its masks hold 0 and 255 alone, and 255 is of no class.*save masks // 255"),
        (_one_class, r"its masks hold 0 alone: training needs at least 2 classes"),
    ],
)
def test_what_is_no_mask_is_refused_by_its_name(tmp_path: Path, spoil: Any, message: str) -> None:
    write_set(tmp_path / "set")
    spoil(tmp_path / "set")
    for task in (SEGMENTATION, None):
        with pytest.raises(DataError, match=message):
            open_data(str(tmp_path / "set"), tmp_path, task=task)


def test_classes_beyond_the_models_are_named_with_their_mask(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    beyond = MASKS[9].copy()
    beyond[2, 2] = 7
    write_mask(tmp_path / "set" / "masks" / "09.png", beyond)
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert describe(data, 0).description.notes == (
            "no pixel is of class 3, 4, 5, 6: the network tells 8 classes apart",
        )
        with pytest.raises(InputError, match=r"class 7 \(.*masks/09.png\), but m tells 0 to 2 apart; 255 is ignored"):
            check_fits(data.info, (3, HEIGHT, WIDTH), 3, SEGMENTATION, "m")
    with open_data(str(tmp_path / "set"), tmp_path, task=Segmentation("segmentation", 7)) as data:
        assert data.info.classes == 256  # 255 is a class like others


def test_classes_have_the_names_of_a_list(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    (tmp_path / "set" / "classes.txt").write_text("ground\nsky\nwater\nroad\n")
    with open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION) as data:
        assert data.info.label_names == ("ground", "sky", "water", "road")
        assert data.info.classes == 4
    (tmp_path / "set" / "classes.txt").write_text("ground\nsky\n")
    with pytest.raises(DataError, match=r"classes.txt: has 2 names, but .*png has the class 2, from 0"):
        open_data(str(tmp_path / "set"), tmp_path, task=SEGMENTATION)


def test_other_tasks_are_told_what_it_is_and_masks_are_asked_for(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    with pytest.raises(DataError, match="holds images and their masks, which are for --task segmentation"):
        open_data(str(tmp_path / "set"), tmp_path, task=CLASSIFICATION)
    for name in ("cat", "dog"):
        write_image(tmp_path / "classes" / name / "1.png", IMAGES[0])
    with pytest.raises(DataError, match=r"holds no images with masks; needed are folders images and masks"):
        open_data(str(tmp_path / "classes"), tmp_path, task=SEGMENTATION)


def test_records_hold_images_and_masks_and_know_the_data_again(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    work = tmp_path / "work"
    wanted = Wanted(str(tmp_path / "set"), str(work), (3, 4, 4), 3, "the model", SEGMENTATION, 0)
    prepared = prepare(wanted)
    with Records(RunFolder(work).records) as records:
        image = memoryview(bytearray(48))
        found = [
            split.read_into(at, image) for split in (records.training, records.test) for at in range(split.samples)
        ]
    small = [Image.fromarray(mask.astype(np.uint8)).resize((4, 4), Image.Resampling.NEAREST) for mask in MASKS]
    assert sorted(found) == sorted(mask.tobytes() for mask in small)
    assert prepare(replace(wanted, known=prepared.description)).reused
    other = MASKS[3].copy()
    other[0, 0] = 1 if other[0, 0] != 1 else 2
    write_mask(tmp_path / "set" / "masks" / "03.png", other, "P")
    with pytest.raises(InputError, match="is not the data that the run was begun with"):
        prepare(replace(wanted, known=prepared.description))
