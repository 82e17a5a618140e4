"""What a picture's file says of itself before any of it is decoded: its first bytes and chunks, without Pillow.

PNG: W3C recommendation. JPEG: ITU-T T.81, annex B. BMP: BITMAPINFOHEADER. WebP: RFC 9649. EXIF: CIPA DC-008, tag 0x112.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from planner.errors import DataError

_HEAD_BYTES = 4096
_MOST_CHUNKS = 4096
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x112
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_HEIF = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis", b"avif", b"avis")

PictureFormat = Literal["PNG", "JPEG", "BMP", "WEBP"]


@dataclass(frozen=True, slots=True)
class Header:
    """A picture as its header describes it."""

    format: PictureFormat
    """What Pillow calls it."""
    width: int
    """Columns, as stored."""
    height: int
    """Rows, as stored."""
    channels: int
    """1 for grey, 3 for colour, 4 for CMYK; transparency is not counted."""
    bits: int = 8
    """Of one channel."""
    is_palette: bool = False
    """Whether pixels are indices of a palette, or single bits."""
    is_transparent: bool = False
    """Whether it has an alpha channel, or a colour that stands for transparency."""
    orientation: int = 1
    """EXIF's: 1 is upright, 5 and more swap height and width."""
    coefficient_bytes: int = 0
    """What a decoder keeps of a progressive JPEG, or of one with its channels apart, beside the picture."""
    is_animated: bool = False
    """Whether other pictures follow."""

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width as people see it."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(path: Path | str) -> Header:
    """Read a picture's header. Raises DataError where it is none of the formats that are read, or damaged."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _parse(fd, os.read(fd, _HEAD_BYTES), path)
        finally:
            os.close(fd)
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})") from None
    except (struct.error, IndexError, ValueError):
        raise DataError(str(path), "its header is damaged, or cut short") from None


def _parse(fd: int, head: bytes, path: Path | str) -> Header:
    if not head:
        raise DataError(str(path), "is empty")
    if head.startswith(_PNG):
        return _png(fd, head)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(fd, head, path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(fd, head)
    if head.startswith(b"BM"):
        return _bmp(fd, head)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        raise DataError(str(path), "is a HEIC or AVIF picture, whatever its name; convert it to JPEG or PNG")
    raise DataError(str(path), "is not a PNG, JPEG, BMP or WebP image")


class _Bytes:
    """Some bytes of a file at a position: out of its beginning, which was read, or read for it."""

    def __init__(self, fd: int, head: bytes) -> None:
        self._fd = fd
        self._head = head

    def __call__(self, start: int, count: int) -> bytes:
        if start + count <= len(self._head):
            return self._head[start : start + count]
        return os.pread(self._fd, count, start)


def _png(fd: int, head: bytes) -> Header:
    width, height, bits, kind, _, _, _ = struct.unpack_from(">IIBBBBB", head, 16)
    transparent, animated, orientation = kind in (4, 6), False, 1
    at = _Bytes(fd, head)
    for name, start, length in _png_chunks(at):
        if name == b"tRNS":
            transparent = True
        elif name == b"acTL":
            animated = True
        elif name == b"eXIf":
            orientation = _orientation(at(start, min(length, 65_536)))
    colour = 3 if kind in (2, 3, 6) else 1
    return Header("PNG", width, height, colour, bits, kind == 3 or bits < 8, transparent, orientation, 0, animated)


def _png_chunks(at: _Bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of the chunks before the picture's own."""
    start = 8
    for _ in range(_MOST_CHUNKS):
        length, name = struct.unpack(">I4s", at(start, 8))
        if name in (b"IDAT", b"IEND"):
            return
        yield name, start + 8, length
        start += 12 + length


def _jpeg(fd: int, head: bytes, path: Path | str) -> Header:
    at, start, orientation, frame = _Bytes(fd, head), 2, 1, None
    for _ in range(_MOST_CHUNKS):
        mark, marker = at(start, 2)
        if mark != 0xFF:
            break
        if marker == 0xFF or marker in _BARE:
            start += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", at(start + 2, 2))
        if marker == 0xE1 and at(start + 4, 6) == b"Exif\0\0":
            orientation = _orientation(at(start + 10, length - 8))
        if marker in _FRAMES:
            frame = (marker, at(start + 4, length - 2))
        if marker == 0xDA and frame is not None:
            return _jpeg_header(*frame, at(start + 4, 1)[0], orientation)
        start += 2 + length
    raise DataError(str(path), "its header is damaged, or cut short")


def _jpeg_header(marker: int, frame: bytes, scanned: int, orientation: int) -> Header:
    """`scanned` is how many of the channels the first scan has."""
    bits, height, width, channels = struct.unpack_from(">BHHB", frame)
    sampling = [(frame[7 + 3 * index] >> 4, frame[7 + 3 * index] & 15) for index in range(channels)]
    kept = 0
    if marker in _PROGRESSIVE or scanned < channels:
        most_x, most_y = (max(max(each), 1) for each in zip(*sampling, strict=True))
        blocks_x, blocks_y = -(-width // (8 * most_x)), -(-height // (8 * most_y))
        kept = sum(2 * 64 * blocks_x * x * blocks_y * y for x, y in sampling)
    return Header("JPEG", width, height, channels, bits, orientation=orientation, coefficient_bytes=kept)


def _webp(fd: int, head: bytes) -> Header:
    kind = head[12:16]
    if kind == b"VP8X":
        flags = head[20]
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return Header("WEBP", width, height, 3, is_transparent=bool(flags & 16), is_animated=bool(flags & 2))
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", head, 21)
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
        return Header("WEBP", width, height, 3, is_transparent=bool(packed >> 28 & 1))
    width, height = struct.unpack_from("<HH", head, 26)
    return Header("WEBP", width & 0x3FFF, height & 0x3FFF, 3)


def _bmp(fd: int, head: bytes) -> Header:
    (length,) = struct.unpack_from("<I", head, 14)
    if length == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
        entry = 3
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", head, 18)
        entry = 4
    colours = head[14 + length : 14 + length + entry * 2**bits] if bits <= 8 else b""
    is_grey = bool(colours) and colours[::entry] == colours[1::entry] == colours[2::entry]
    return Header("BMP", abs(width), abs(height), 1 if is_grey else 3, is_palette=bits <= 8)


def _orientation(exif: bytes) -> int:
    """The orientation in a TIFF structure, 1 where it has none that means something."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for index in range(min(count, 512)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * index)
            if tag == _EXIF_ORIENTATION and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
