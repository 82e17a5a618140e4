"""One picture file as the 8-bit values that a network is shown: upright, on a ground, of one size; and what that takes.

Pillow is imported here, by name of format: it would otherwise import all forty of its own to find WebP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from planner import limits
from planner.data.framing import cut_middle, framed, resized_extents
from planner.data.headers import Header, read_header
from planner.errors import DataError
from planner.units import MIB, format_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

GROUND = 255
"""What transparent pictures are laid on: white."""

_DEEP_MODES = ("I", "F")
_SLACK_BYTES = MIB
"""Rows, tables and buffers of decoders."""

_DRAFT_SCALES = (8, 4, 2, 1)
_DRAFT_TIMES = 2
"""A JPEG can be decoded at an eighth of its size. Twice what is needed keeps the result the same to the eye and a
camera's picture from taking 36 MB."""


def import_pillow(where: Path | str, doing: str = "reading image files") -> None:
    """Raise DataError, which names `where` and what is being done, where Pillow is not installed."""
    try:
        from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401  # to register
    except ImportError:
        raise DataError(str(where), f"{doing} needs Pillow: pip install 'neuroflux-planner[images]'") from None


def check_header(path: Path | str, header: Header) -> None:
    """Raise DataError for extents beyond the limits and for more than 8 bits a channel."""
    if max(header.width, header.height) > limits.MAX_EXTENT:
        raise DataError(str(path), f"{header.height}×{header.width} is beyond {limits.MAX_EXTENT}×{limits.MAX_EXTENT}")
    if not header.width or not header.height:
        raise DataError(str(path), f"its header says {header.height}×{header.width}: it has no pixels")
    if header.bits > 8 and header.channels == 1:
        raise DataError(str(path), "has more than 8 bits a channel; convert it to 8")


def decode_bytes(header: Header, size: tuple[int, int], file_bytes: int) -> int:
    """Bytes that decoding and resizing to `size` (height, width) takes beside the process itself, rather too much."""
    width, height = header.width, header.height
    if header.format == "JPEG":
        scale = _draft_scale(header, size)
        width, height = -(-width // scale), -(-height // scale)
    pixels = width * height
    stored = 1 if header.is_palette or (header.channels == 1 and not header.is_transparent) else 4
    # Palettes, CMYK and transparency are converted at full size; what is transparent is resized by another copy.
    converted = 4 if header.is_palette or header.channels == 4 or header.is_transparent else 0
    resized = 4 if header.is_transparent else 0
    taken = pixels * (stored + converted + resized) + header.coefficient_bytes
    if header.format == "WEBP":
        taken += 12 * pixels + 2 * file_bytes  # canvas, frame, and the bytes between decoder and picture
    strip = 4 * max(size) * max(width, height)
    return taken + strip + 8 * size[0] * size[1] + _SLACK_BYTES


def _draft_scale(header: Header, size: tuple[int, int]) -> int:
    """By how much Pillow decodes a JPEG smaller, asked for twice `size`."""
    height, width = _as_stored(header.orientation, size)
    scale = min(header.width // (_DRAFT_TIMES * width), header.height // (_DRAFT_TIMES * height))
    return next((each for each in _DRAFT_SCALES if scale >= each), 1)


def _as_stored(orientation: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture that will have `size` when it is upright."""
    return (size[1], size[0]) if orientation >= 5 else size


def decode(path: Path, size: tuple[int, int, int], shorter_side: int | None = None) -> bytes:
    """The picture upright, transparency laid on white, converted and resized to `size`; channels last.

    With a `shorter_side` it is resized to that, proportions kept, and the middle cut out. Raises DataError naming the
    file.
    """

    def needed_bytes(header: Header) -> int:
        between = resized_extents(path, header.upright, size[1:], shorter_side)
        return decode_bytes(header, between, path.stat().st_size)

    with decoding(path, needed_bytes):
        return _decode(path, size, shorter_side)


@contextlib.contextmanager
def decoding(path: Path, needed_bytes: Callable[[Header], int]) -> Iterator[None]:
    """Within this, whatever is wrong with decoding a file is a DataError that names it.

    `needed_bytes` says what decoding takes, where memory is short.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        header = read_header(path)
        raise DataError(
            str(path),
            f"decoding its {header.height}×{header.width} takes about {format_bytes(needed_bytes(header))}, more than "
            "the budget leaves; make it smaller, or plan for a larger budget",
        ) from None
    except Exception as error:  # Pillow's formats let dozens of kinds through for damaged files
        raise DataError(str(path), f"cannot be decoded ({error})") from None


def decode_into(path: Path, size: tuple[int, int, int], image: memoryview, shorter_side: int | None = None) -> None:
    """Fill `image` with the picture, channels first. Raises DataError naming the file, ValueError for another size."""
    channels, height, width = size
    plane = height * width
    if image.nbytes != channels * plane:
        raise ValueError(f"{image.nbytes} bytes given for an image of {channels * plane}")
    pixels = decode(path, size, shorter_side)
    for channel in range(channels):
        image[channel * plane : (channel + 1) * plane] = pixels[channel::channels]


def _decode(path: Path, size: tuple[int, int, int], shorter_side: int | None) -> bytes:
    from PIL import Image

    channels, height, width = size
    mode = "L" if channels == 1 else "RGB"
    with Image.open(path, formats=("PNG", "JPEG", "BMP", "WEBP")) as image:
        if image.mode.startswith(_DEEP_MODES):
            raise DataError(str(path), "has more than 8 bits a channel; convert it to 8")
        if max(image.size) > limits.MAX_EXTENT:  # another file than was looked at
            raise DataError(str(path), f"{image.height}×{image.width} is beyond the limits")
        orientation = _orientation(image)
        stored = (image.height, image.width)
        rows, columns = resized_extents(path, stored, _as_stored(orientation, (height, width)), shorter_side)
        image.draft(None, (_DRAFT_TIMES * columns, _DRAFT_TIMES * rows))
        resized = _resized(_full_size(image), (columns, rows))
        upright = _turned(_on_ground(resized), orientation)
        return cut_middle(upright, (height, width)).convert(mode).tobytes()


def _orientation(image: Image) -> int:
    found = image.getexif().get(0x112, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _full_size(image: Image) -> Image:
    """The picture in a mode that can be resized: L, RGB, or RGBA where it is transparent."""
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def _resized(image: Image, size: tuple[int, int]) -> Image:
    from PIL.Image import Resampling

    return image if image.size == size else image.resize(size, Resampling.BILINEAR)


def resize_planes(
    where: str,
    planes: bytes | bytearray,
    had: tuple[int, int, int],
    size: tuple[int, int],
    into: memoryview,
    shorter_side: int | None = None,
) -> None:
    """Fill `into` with an image (channels, height, width) of uint8 brought to `size` (height, width): each channel is
    resized by itself, which is what becomes of a picture's."""
    from PIL import Image
    from PIL.Image import Resampling

    channels, height, width = had
    plane, target = height * width, size[0] * size[1]
    for channel in range(channels):
        image = Image.frombuffer("L", (width, height), planes[channel * plane : (channel + 1) * plane])
        into[channel * target : (channel + 1) * target] = framed(
            where, image, size, shorter_side, Resampling.BILINEAR
        ).tobytes()


def _on_ground(image: Image) -> Image:
    from PIL import Image

    if image.mode != "RGBA":
        return image
    ground = Image.new("RGBA", image.size, (GROUND, GROUND, GROUND, 255))
    return Image.alpha_composite(ground, image)


def _turned(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image
