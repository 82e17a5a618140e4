"""Pictures whose class is the corner in which a white disc lies: wrongly turned, they are of another class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.unit.data.support import Bytes

NAMES = "abcd"
"""Of the classes: upper left, upper right, lower left, lower right."""

SHAPE = (3, 32, 32)


def disc(corner: int, chance: np.random.Generator) -> Bytes:
    """A white disc on dark noise, 32×32 in colour."""
    picture = chance.integers(0, 60, (32, 32, 3)).astype(np.uint8)
    y, x = np.mgrid[:32, :32]
    picture[(y - (8, 24)[corner // 2]) ** 2 + (x - (8, 24)[corner % 2]) ** 2 < 25] = 255
    return picture


def see_through(corner: int, chance: np.random.Generator) -> Bytes:
    """The same shape in the alpha channel alone: black, opaque in the disc."""
    shape = np.zeros((32, 32, 4), np.uint8)
    shape[..., 3] = disc(corner, chance)[..., 0] // 200 * 255
    return shape


def corner_of(image: Bytes) -> int:
    """The corner in which an image (channels, 32, 32) is brightest."""
    sums = [image[:, y : y + 16, x : x + 16].sum(dtype=int) for y in (0, 16) for x in (0, 16)]
    return int(np.argmax(sums))


def save(path: Path, picture: Bytes | Image.Image, **options: Any) -> None:
    """Write a picture in the format that the suffix names, making the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)


def folder(place: Path, classes: str = NAMES, count: int = 10, seed: int = 0) -> Path:
    """A folder of pictures for each class; the disc lies where the class's letter says."""
    chance = np.random.default_rng(seed)
    for name in classes:
        for number in range(count):
            save(place / name / f"{number:03}.png", disc(NAMES.index(name), chance))
    return place


def upright_and_phone(place: Path, count: int, seed: int, suffix: str = "png") -> tuple[Path, Path]:
    """The same pictures twice: as they are seen, and as a phone stores them, on their side with EXIF's word for it."""
    chance, exif = np.random.default_rng(seed), Image.Exif()
    exif[0x112] = 6
    upright, phone = place / "upright", place / "phone"
    for corner, name in enumerate(NAMES):
        for number in range(count):
            image = Image.fromarray(disc(corner, chance))
            save(upright / name / f"{number}.{suffix}", image)
            save(phone / name / f"{number}.{suffix}", image.transpose(Image.Transpose.ROTATE_90), exif=exif)
    return upright, phone


def coloured(place: Path, count: int, first_is_grey: bool) -> Path:
    """Pictures of one colour, which is their class; the four are alike in brightness. The first may be grey."""
    for name, colour in zip(NAMES, COLOURS, strict=True):
        for number in range(count):
            picture = Image.new("RGB", (32, 32), colour)
            is_grey = first_is_grey and (name, number) == ("a", 0)
            save(place / name / f"{number:03}.png", picture.convert("L") if is_grey else picture)
    return place


COLOURS = ((150, 60, 60), (60, 120, 60), (60, 60, 230), (105, 105, 40))
