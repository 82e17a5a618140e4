"""Headers are read without Pillow; Pillow, which reads them too, is the oracle."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from planner.data.headers import Header, read_header
from planner.errors import DataError

SIZE = (21, 13)
"""Width and height."""


def picture(mode: str) -> Image.Image:
    """A picture whose pixels differ, so that no encoder makes a palette or grey of it."""
    found = Image.effect_noise(SIZE, 90).convert("RGB")
    found.putpixel((0, 0), (255, 0, 0))
    return found.convert(mode)


@pytest.mark.parametrize(
    ("name", "mode", "channels"),
    [
        *((f"x.{suffix}", mode, channels) for suffix in ("png", "bmp") for mode, channels in (("1", 1), ("L", 1))),
        ("x.jpg", "L", 1),
        ("x.jpg", "CMYK", 4),
        *((f"x.{suffix}", "RGB", 3) for suffix in ("png", "jpg", "bmp", "webp")),
        *((f"x.{suffix}", "P", 3) for suffix in ("png", "bmp")),
        ("x.png", "LA", 1),
        *((f"x.{suffix}", "RGBA", 3) for suffix in ("png", "webp")),
    ],
)
def test_size_and_kind_are_what_pillow_says(tmp_path: Path, name: str, mode: str, channels: int) -> None:
    picture(mode).save(tmp_path / name)
    found = read_header(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert (found.width, found.height) == image.size == SIZE
        assert found.format == image.format
        assert found.channels == channels
        assert found.is_transparent == image.has_transparency_data
        assert found.is_palette == (image.mode in ("1", "P") or (name == "x.bmp" and mode == "L"))


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"save_all": True}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_kind_of_webp(tmp_path: Path, options: dict[str, Any], mode: str) -> None:
    first, second = picture(mode), picture(mode)
    if mode == "RGBA":
        first.putpixel((5, 5), (1, 2, 3, 90))
    more: dict[str, Any] = {"append_images": [second]} if "save_all" in options else {}
    first.save(tmp_path / "x.webp", **options, **more)
    found = read_header(tmp_path / "x.webp")
    assert (found.width, found.height, found.is_transparent) == (*SIZE, mode == "RGBA")
    assert found.is_animated == ("save_all" in options)


def test_transparency_without_a_channel_of_its_own(tmp_path: Path) -> None:
    picture("P").save(tmp_path / "p.png", transparency=0)
    picture("L").save(tmp_path / "l.png", transparency=7)
    picture("RGB").save(tmp_path / "c.png", transparency=(255, 0, 0))
    assert all(read_header(tmp_path / f"{name}.png").is_transparent for name in "plc")


def test_an_animated_png(tmp_path: Path) -> None:
    picture("RGB").save(tmp_path / "x.png", save_all=True, append_images=[picture("RGB")])
    assert read_header(tmp_path / "x.png").is_animated


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_orientation_of_exif(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera of a long name"  # another field before it
    exif[0x112] = orientation
    picture("RGB").save(tmp_path / f"x.{suffix}", exif=exif)
    found = read_header(tmp_path / f"x.{suffix}")
    assert found.orientation == orientation
    assert found.upright == ((13, 21) if orientation < 5 else (21, 13))


def test_a_header_behind_a_long_comment_and_a_profile(tmp_path: Path) -> None:
    """Cameras put thumbnails and profiles before what matters: further in than what is read at first."""
    for suffix in ("jpg", "png"):
        picture("RGB").save(tmp_path / f"x.{suffix}", comment=b"c" * 60_000, icc_profile=bytes(range(256)) * 200)
        assert read_header(tmp_path / f"x.{suffix}").upright == (13, 21)


@pytest.mark.parametrize(("progressive", "subsampling", "blocks"), [(True, 0, 6 + 6 + 6), (True, 2, 8 + 2 + 2)])
def test_what_a_progressive_jpeg_keeps(tmp_path: Path, progressive: bool, subsampling: int, blocks: int) -> None:
    """Blocks of 8×8 coefficients of two bytes: of 21×13 pixels, 3×2 in each channel; 4×2 and two of 2×1 at half."""
    picture("RGB").save(tmp_path / "x.jpg", progressive=progressive, subsampling=subsampling)
    assert read_header(tmp_path / "x.jpg").coefficient_bytes == 2 * 64 * blocks
    picture("RGB").save(tmp_path / "x.jpg", subsampling=subsampling)
    assert read_header(tmp_path / "x.jpg").coefficient_bytes == 0


def test_more_than_eight_bits(tmp_path: Path) -> None:
    Image.new("I;16", SIZE, 40_000).save(tmp_path / "x.png")
    assert read_header(tmp_path / "x.png") == Header("PNG", *SIZE, channels=1, bits=16)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_a_phones_own_format_is_named_whatever_the_name(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "IMG_1.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(400))
    with pytest.raises(DataError, match=r"IMG_1\.jpg: is a HEIC or AVIF picture.*convert it"):
        read_header(tmp_path / "IMG_1.jpg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_a_header_that_is_cut_short_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    picture("RGB").save(path)
    whole = path.read_bytes()
    for length in range(1, 26):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"x.{suffix}: (is not a|its header is damaged)"):
            read_header(path)


def test_chunks_and_markers_without_end(tmp_path: Path) -> None:
    """A file of a million empty chunks is looked through up to a bound."""
    picture("RGB").save(tmp_path / "x.png")
    head = (tmp_path / "x.png").read_bytes()[:33]
    (tmp_path / "x.png").write_bytes(head + b"\0\0\0\0teXt\0\0\0\0" * 100_000)
    assert read_header(tmp_path / "x.png").upright == (13, 21)
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8" + b"\xff\xfe\0\2" * 100_000)
    with pytest.raises(DataError, match="damaged"):
        read_header(tmp_path / "x.jpg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_ruined_headers_give_a_clear_error_or_a_header(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    exif = Image.Exif()
    exif[0x112] = 6
    options: dict[str, Any] = {"exif": exif} if suffix in ("jpg", "png") else {}
    picture("RGB").save(path, **options)
    whole, chance = path.read_bytes(), random.Random(4)
    for _ in range(500):
        ruined = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            ruined[chance.randrange(min(len(ruined), 250))] = chance.randrange(256)
        path.write_bytes(ruined)
        try:
            assert isinstance(read_header(path), Header)
        except DataError as error:
            assert error.file == str(path)
