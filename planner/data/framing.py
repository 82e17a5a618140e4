"""How a picture of any size becomes one of a size: resized, and with a shorter side given, its middle cut out.

As torchvision does it: `Resize(side)` keeps proportions, the longer side rounded down; `CenterCrop` begins at half of
what is left over, halves rounded to even.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from planner import limits
from planner.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

Extents = tuple[int, int]
"""Height and width."""


def resized_extents(where: Path | str, had: Extents, size: Extents, shorter_side: int | None) -> Extents:
    """What a picture of `had` is resized to, to become one of `size`. Raises DataError naming `where`: too long."""
    if shorter_side is None:
        return size
    short, long = sorted(had)
    longer = shorter_side * long // short
    if longer > limits.MAX_EXTENT:
        raise DataError(
            str(where),
            f"is {had[0]}×{had[1]}; with a shorter side of {shorter_side} the other one would be {longer}, and "
            f"{limits.MAX_EXTENT} is the most: cut it beforehand",
        )
    return (shorter_side, longer) if had[0] <= had[1] else (longer, shorter_side)


def cut_middle(image: Image, size: Extents) -> Image:
    """The middle of a picture, of `size`."""
    height, width = size
    if image.size == (width, height):
        return image
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))


def framed(where: Path | str, image: Image, size: Extents, shorter_side: int | None, by: Resampling) -> Image:
    """A picture resized, and cut to `size`. Raises DataError naming `where`."""
    height, width = resized_extents(where, (image.height, image.width), size, shorter_side)
    resized = image if image.size == (width, height) else image.resize((width, height), by)
    return cut_middle(resized, size)
