from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from planner.data.headers import read_header
from planner.data.pictures import decode, decode_bytes
from planner.errors import DataError
from planner.units import MIB
from tests.unit.data.support import Bytes, random_images

PIXELS = random_images(12, 20, 3)


def read(path: Path, channels: int, height: int, width: int) -> Bytes:
    return np.frombuffer(decode(path, (channels, height, width)), np.uint8).reshape(height, width, channels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_pictures_stand_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    """As Pillow's own `exif_transpose` has them, at the size that they then have."""
    exif = Image.Exif()
    exif[0x112] = orientation
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(PIXELS).save(tmp_path / f"x.{suffix}", exif=exif, **options)
    with Image.open(tmp_path / f"x.{suffix}") as image:
        right = np.asarray(ImageOps.exif_transpose(image))
    assert right.shape == ((12, 20, 3) if orientation < 5 else (20, 12, 3))
    assert (read(tmp_path / f"x.{suffix}", 3, *right.shape[:2]) == right).all()


def test_a_picture_that_lies_on_its_side_is_resized_as_it_stands(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "upright.png")
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    upright, phone = (read(tmp_path / f"{name}.png", 3, 6, 5).astype(int) for name in ("upright", "phone"))
    assert np.abs(upright - phone).max() <= 1  # rows are averaged before columns, or after


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    alpha = np.arange(240, dtype=np.uint8).reshape(12, 20)
    image = Image.fromarray(PIXELS if mode == "RGBA" else PIXELS[..., 0])
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "x.png")
    share = alpha[..., None] / 255
    right = share * (PIXELS if mode == "RGBA" else PIXELS[..., :1]) + (1 - share) * 255
    assert np.abs(read(tmp_path / "x.png", 3, 12, 20) - right).max() <= 1


def test_a_colour_that_stands_for_nothing_is_white(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[1:3, 1:3] = (9, 8, 7)
    Image.fromarray(pixels).save(tmp_path / "rgb.png", transparency=(0, 0, 0))
    indexed = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)
    indexed.save(tmp_path / "p.png", transparency=indexed.getpixel((0, 0)))
    for name in ("rgb", "p"):
        found = read(tmp_path / f"{name}.png", 3, 4, 4)
        assert (found[0, 0] == 255).all() and (found[1, 1] == (9, 8, 7)).all(), name


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_every_kind_of_pixel_is_read_as_pillow_converts_it(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.fromarray(PIXELS).convert(mode).save(path)
    with Image.open(path) as image:
        right = np.asarray(image.convert("RGB"))
    assert (read(path, 3, 12, 20) == right).all()
    assert (read(path, 1, 12, 20)[..., 0] == np.asarray(Image.fromarray(right).convert("L"))).all()


def test_the_first_of_several_pictures_is_read_and_a_profile_is_not_applied(tmp_path: Path) -> None:
    first, second = Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)
    first.save(tmp_path / "x.png", save_all=True, append_images=[second], icc_profile=b"not applied")
    first.save(tmp_path / "x.webp", save_all=True, append_images=[second], lossless=True)
    for suffix in ("png", "webp"):
        assert (read(tmp_path / f"x.{suffix}", 3, 12, 20) == PIXELS).all()


PEAK = """
import sys
from pathlib import Path
from planner.data.pictures import decode, import_pillow
from planner.system.proc import read_memory, reset_peak
import_pillow(Path("."))
small, large, *size = sys.argv[1:]
size = (3, *map(int, size))
decode(Path(small), size)
reset_peak()
before = read_memory().resident_bytes
decode(Path(large), size)
print(read_memory().peak_bytes - before)
"""

LARGE: list[tuple[str, str, dict[str, Any]]] = [
    ("jpg", "RGB", {}),
    ("jpg", "RGB", {"progressive": True}),
    ("jpg", "RGB", {"progressive": True, "subsampling": 0}),
    ("jpg", "L", {}),
    ("jpg", "CMYK", {}),
    ("png", "RGB", {"compress_level": 1}),
    ("png", "RGBA", {"compress_level": 1}),
    ("png", "L", {"compress_level": 1}),
    ("png", "P", {"compress_level": 1}),
    ("bmp", "RGB", {}),
    ("webp", "RGB", {"method": 0}),
    ("webp", "RGBA", {"method": 0, "lossless": True}),
]


@pytest.mark.parametrize(("suffix", "mode", "options"), LARGE)
@pytest.mark.parametrize("size", [(32, 32), (1200, 1600)])
def test_decoding_takes_no_more_than_is_counted(
    tmp_path: Path, suffix: str, mode: str, options: dict[str, Any], size: tuple[int, int]
) -> None:
    """The kernel's peak in a process of its own, beside what its header makes of it: at most that, and not half."""
    small, large = (tmp_path / f"{name}.{suffix}" for name in ("small", "large"))
    Image.fromarray(PIXELS).convert(mode).save(small, **options)
    y, x = np.mgrid[:1500, :2000]
    Image.fromarray(np.stack([x % 251, y % 241, (x + y) % 239], 2).astype(np.uint8)).convert(mode).save(
        large, **options
    )
    counted = decode_bytes(read_header(large), size, large.stat().st_size)
    words = [sys.executable, "-c", PEAK, str(small), str(large), *map(str, size)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={"GLIBC_TUNABLES": "", "PATH": "/bin"})
    measured = int(done.stdout)
    assert measured <= counted, (measured, counted)
    assert counted <= 2 * measured + 6 * MIB, (measured, counted)


def test_a_picture_that_does_not_fit_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 3000)).save(tmp_path / "x.png")
    code = (
        "import sys; from pathlib import Path; from planner.data.pictures import decode, import_pillow\n"
        "from planner.system.rlimit import limit_data\n"
        "from planner.errors import DataError\n"
        "import_pillow(Path('.')); limit_data(30 * 2**20)\n"
        "try: decode(Path(sys.argv[1]), (3, 32, 32))\n"
        "except DataError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.png"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path / 'x.png'}: decoding its 3000×4000 takes about 47.")
    assert "make it smaller, or plan for a larger budget" in done.stdout


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    Image.new("I;16", (4, 4), 40_000).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png: has more than 8 bits a channel"):
        decode(tmp_path / "x.png", (1, 4, 4))
