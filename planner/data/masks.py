"""One mask file as the numbers of classes, a byte a pixel: indices of a palette, or grey values. Nothing is converted.

Pillow is imported here, as in `pictures.py`.
"""

from __future__ import annotations

from pathlib import Path

from planner import limits
from planner.data.framing import framed
from planner.data.headers import Header, read_header
from planner.data.pictures import decoding
from planner.errors import DataError
from planner.units import MIB

SUFFIXES = (".png", ".bmp")
"""Of files that hold exactly what was saved."""

_FORMATS = ("PNG", "BMP")
_STEPS = {1: 255, 2: 85, 4: 17}
"""Between two grey values of so many bits, as Pillow spreads them over a byte."""


def mask_header(path: Path, size: tuple[int, int]) -> Header:
    """The header of a mask. Raises DataError where it is none, or not of `size` (height, width), its image's."""
    header = read_header(path)
    if header.format not in _FORMATS:
        raise DataError(
            str(path), f"is a {header.format} picture, which does not keep numbers as they are; save masks as PNG"
        )
    if header.channels > 1 and not header.is_palette:
        raise DataError(
            str(path),
            "is in colour: a mask has the number of a class for every pixel, as grey values or with a palette; replace "
            "each colour by its class's number",
        )
    if header.bits > 8:
        raise DataError(str(path), f"has {header.bits} bits a pixel; masks have 8, the numbers of 256 classes at most")
    if (header.height, header.width) != size:
        raise DataError(str(path), f"is {header.height}×{header.width}, but its image is {size[0]}×{size[1]}")
    return header


def mask_bytes(height: int, width: int, size: tuple[int, int]) -> int:
    """Bytes that decoding a mask and bringing it to `size` takes beside the process itself, rather too much."""
    return 3 * height * width + 3 * size[0] * size[1] + MIB


def decode_mask(path: Path, size: tuple[int, int] | None = None, shorter_side: int | None = None) -> bytes:
    """A mask's numbers, brought to `size` (height, width) as its image is, by the nearest pixel.

    Raises DataError naming the file.
    """
    with decoding(path, lambda header: mask_bytes(header.height, header.width, size or (1, 1))):
        return _decoded(path, size, shorter_side)


def _decoded(path: Path, size: tuple[int, int] | None, shorter_side: int | None) -> bytes:
    from PIL import Image

    header = read_header(path)
    with Image.open(path, formats=_FORMATS) as image:
        if max(image.size) > limits.MAX_EXTENT:  # another file than was looked at
            raise DataError(str(path), f"{image.height}×{image.width} is beyond the limits")
        if image.mode not in ("P", "L", "1"):
            raise DataError(str(path), "has transparency; a mask is grey, or has a palette")
        resized = image if size is None else framed(path, image, size, shorter_side, Image.Resampling.NEAREST)
        found: bytes = (resized.convert("L") if resized.mode == "1" else resized).tobytes()
        step = 1 if image.mode == "P" else 255 if image.mode == "1" else _STEPS.get(header.bits, 1)
    return found if step == 1 else found.translate(bytes(value // step for value in range(256)))


def resize_mask(
    where: str, mask: bytes, had: tuple[int, int], size: tuple[int, int], shorter_side: int | None = None
) -> bytes:
    """A mask of `had` (height, width) brought to `size` by the nearest pixel. `where` is what errors call it."""
    from PIL import Image

    if had == size and shorter_side is None:
        return mask
    image = Image.frombuffer("L", had[::-1], mask)
    return bytes(framed(where, image, size, shorter_side, Image.Resampling.NEAREST).tobytes())
