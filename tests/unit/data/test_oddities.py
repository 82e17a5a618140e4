"""What is odd about data that people have: each case below is one, made anew, and read right or refused by name.

Every set has four classes of discs (`discs.py`), so that a picture that is wrongly read or named shows: it is then of
another class than its label says. A case either gives samples, labels and words (`READ`), or one sentence and exit code
2 (`REFUSED`). Classes in turn, parts, folders within classes and other data on resume stand in `test_cases.py`.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from planner.cli.main import main
from planner.data.prepare import Wanted
from planner.data.preparer import prepare
from planner.data.records import Records
from planner.errors import DataError
from planner.schema.data import DataDescription
from planner.schema.run_folder import RunFolder
from planner.tasks.kinds import CLASSIFICATION
from tests.unit.data.discs import NAMES, SHAPE, corner_of, disc, folder, save, see_through
from tests.unit.data.support import Bytes, Integers, cycling_labels, read_all, write_cifar, write_idx

COUNT = 5
"""Pictures of each class."""

ALL = 4 * COUNT


@dataclass(frozen=True)
class Read:
    """A set that is read right."""

    make: Callable[[Path], Path]
    """Makes it, and says where it lies."""
    notes: tuple[str, ...] = ()
    """What is said of it."""
    names: tuple[str, ...] = tuple(NAMES)
    """Of the classes, in the order of their corners."""
    dark: bool = False
    """Whether discs are darker than their ground."""


def pictures(place: Path) -> list[Path]:
    """The files of a plain set."""
    return sorted(folder(place, count=COUNT).rglob("*.png"))


def rewritten(suffix: str, change: Callable[[Image.Image], Image.Image] = lambda image: image, **options: Any) -> Any:
    """A plain set whose pictures are written otherwise."""

    def make(place: Path) -> Path:
        for path in pictures(place):
            with Image.open(path) as image:
                changed = change(image.copy())
            path.unlink()
            changed.save(path.with_suffix(suffix), **options)
        return place

    return make


def doing(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """A plain set to which something is done."""

    def make(place: Path) -> Path:
        folder(place, count=COUNT)
        change(place)
        return place

    return make


def called(*names: str | bytes) -> Callable[[Path], Path]:
    """A plain set whose classes have other names."""

    def change(place: Path) -> None:
        for old, new in zip(NAMES, names, strict=True):
            (place / old).rename(place / os.fsdecode(new))

    return doing(change)


def every_orientation(place: Path) -> Path:
    """As cameras store them, held in all eight ways."""
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # what has them stand upright, undone
    for number, path in enumerate(pictures(place)):
        orientation, exif = 1 + number % 8, Image.Exif()
        exif[0x112] = orientation
        with Image.open(path) as image:
            turned = image.transpose(stored[orientation]) if orientation in stored else image.copy()
        turned.save(path, exif=exif)
    return place


def png(rows: bytes, bits: int, kind: int) -> bytes:
    """A PNG of 32×32 from its bytes; Pillow writes no colour of 16 bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    stride = len(rows) // 32
    lines = b"".join(b"\0" + rows[first : first + stride] for first in range(0, len(rows), stride))
    header = struct.pack(">IIBBBBB", 32, 32, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def sixteen_bits_of_colour(place: Path) -> Path:
    for path in pictures(place):
        with Image.open(path) as image:
            values = np.asarray(image).astype(">u2") * 257
        path.write_bytes(png(values.tobytes(), bits=16, kind=2))
    return place


def palettes_that_are_seen_through(place: Path) -> Path:
    """One entry of the palette is transparent: on white, the discs are dark."""
    for path in pictures(place):
        with Image.open(path) as image:
            is_disc = np.asarray(image)[..., 0] == 255
        indexed = Image.fromarray(is_disc.astype(np.uint8))
        indexed.putpalette([0, 255, 0, 90, 20, 20])
        indexed.save(path, transparency=0)
    return place


def alpha(place: Path) -> Path:
    """WebP pictures whose shape lies in the alpha channel."""
    chance = np.random.default_rng(0)
    for corner, name in enumerate(NAMES):
        for number in range(COUNT):
            save(place / name / f"{number}.webp", Image.fromarray(see_through(corner, chance)), lossless=True)
    return place


def other_endings(place: Path) -> Path:
    """Whatever they are called, their content says what they are."""
    for path in pictures(place):
        path.rename(path.with_suffix((".jpg", ".JPEG", ".bmp", ".PNG", ".Webp")[int(path.stem) % 5]))
    return place


def animated(suffix: str, **options: Any) -> Callable[[Path], Path]:
    """The second picture of each shows nothing."""

    def make(place: Path) -> Path:
        for path in pictures(place):
            with Image.open(path) as image:
                first = image.copy()
            path.unlink()
            more = [Image.new("RGB", (32, 32))]
            first.save(path.with_suffix(suffix), save_all=True, append_images=more, **options)
        return place

    return make


def class_elsewhere(place: Path) -> None:
    """One class folder is a link, one picture is."""
    elsewhere = place.with_name("elsewhere")
    shutil.move(place / "b", elsewhere)
    (place / "b").symlink_to(elsewhere)
    (place / "c" / "000.png").rename(elsewhere.with_name("picture"))
    (place / "c" / "000.png").symlink_to(elsewhere.with_name("picture"))


def links_that_lead_round(place: Path) -> None:
    (place / "round").symlink_to("round")
    (place / "a" / "round").symlink_to("round")
    (place / "b" / "up").symlink_to(place)


def list_from_windows(place: Path) -> None:
    """A byte order mark, and lines that end in two characters."""
    (place / "classes.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(NAMES).encode() + b"\r\n")


def files_beside(place: Path) -> None:
    for name in ("README.md", "loose.png", "labels.csv"):
        (place / name).write_bytes(b"anything")


def gifs(place: Path) -> None:
    Image.new("L", (32, 32)).save(place / "a" / "x.gif", save_all=True, append_images=[Image.new("L", (32, 32), 9)])


def leftovers(place: Path) -> None:
    """Of macOS and Windows."""
    (place / "__MACOSX" / "a").mkdir(parents=True)
    (place / "$RECYCLE.BIN").mkdir()
    for name in (".DS_Store", "._000.png", "Thumbs.db", "desktop.ini"):
        (place / "a" / name).write_bytes(b"anything")
        (place / name).write_bytes(b"anything")


def arrays(labels: Integers | None = None) -> dict[str, Any]:
    """Images and labels of a plain set."""
    right = cycling_labels(ALL, 4)
    chance = np.random.default_rng(0)
    images = np.stack([disc(corner, chance) for corner in right])
    return {"images": images, "labels": right if labels is None else labels}


def npz(compressed: bool = False, **changes: Any) -> Callable[[Path], Path]:
    """An .npz file; what is called, is called with the plain set's array and gives another, nothing for none."""

    def make(place: Path) -> Path:
        found = arrays()
        for name, change in changes.items():
            found[name] = change(found.get(name)) if callable(change) else change
        path = place.with_suffix(".npz")
        kept = {name: array for name, array in found.items() if array is not None}
        (np.savez_compressed if compressed else np.savez)(path, **kept)
        return path

    return make


def idx(zipped: bool) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        found = arrays()
        write_idx(place, "train", found["images"][..., 0], found["labels"], zipped=zipped)
        return place

    return make


def cifar(place: Path) -> Path:
    place.mkdir()
    found = arrays()
    write_cifar(place / "data_batch_1.bin", found["images"].transpose(0, 3, 1, 2), found["labels"])
    (place / "batches.meta.txt").write_text("\n".join(NAMES))
    return place


_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_GREY = "20 of 20 images without colour: read as grey in three channels"

READ = {
    "all eight EXIF orientations": Read(every_orientation, ("17 of 20 images turned upright, as EXIF says",)),
    "CMYK JPEG": Read(rewritten(".jpg", lambda image: image.convert("CMYK"))),
    "progressive JPEG": Read(rewritten(".jpg", progressive=True)),
    "several pictures in one JPEG (MPO)": Read(animated(".jpg", format="MPO")),
    "colour of 16 bits": Read(sixteen_bits_of_colour),
    "a colour profile": Read(rewritten(".png", icc_profile=_SRGB)),
    "single bits": Read(
        rewritten(".png", lambda image: image.convert("L").point(lambda v: 255 * (v > 128), "1")), (_GREY,)
    ),
    "palettes": Read(rewritten(".bmp", lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE))),
    "palettes with a transparent colour": Read(
        palettes_that_are_seen_through, ("20 of 20 images with transparency: laid on white",), dark=True
    ),
    "a shape in WebP's alpha channel": Read(alpha, ("20 of 20 images with transparency: laid on white",), dark=True),
    "animated PNG": Read(animated(".png"), ("20 of 20 images animated: the first picture of each is read",)),
    "animated WebP": Read(
        animated(".webp", lossless=True), ("20 of 20 images animated: the first picture of each is read",)
    ),
    "a GIF among them": Read(doing(gifs), ("left out: 1 file (1 .gif)",)),
    "endings in capitals, and wrong ones": Read(other_endings),
    "class names with dots, spaces and signs": Read(
        called("a.b", "b 1", "c#%'\"", "d-€-ü"), names=("a.b", "b 1", "c#%'\"", "d-€-ü")
    ),
    "letters and marks apart in names": Read(called("e\u0301", "f", "g", "h"), names=("\u00e9", "f", "g", "h")),
    "a class name that is not UTF-8": Read(called("a", "b", "c", b"d\xff"), names=("a", "b", "c", "d\ufffd")),
    "a file name that is not UTF-8": Read(
        doing(lambda place: (place / "a" / "000.png").rename(place / "a" / os.fsdecode(b"\xff\n.png")))
    ),
    "a link to a class folder, and to a picture": Read(doing(class_elsewhere)),
    "links that lead round": Read(
        doing(links_that_lead_round),
        (
            "left out: 1 folder inside class folders: links, or too deep",
            "left out: 2 files (2 without a suffix)",
        ),
    ),
    "a list of classes from Windows": Read(doing(list_from_windows)),
    "files beside the class folders": Read(doing(files_beside), ("left out: 3 files (1 .csv, 1 .md, 1 .png)",)),
    "what macOS and Windows leave": Read(doing(leftovers), ("left out: 4 files (2 .db, 2 .ini)",)),
    "compressed arrays": Read(npz(compressed=True), names=()),
    "labels in a column": Read(npz(labels=lambda labels: labels[:, None]), names=()),
    "labels of one byte, from the other end": Read(npz(labels=lambda labels: labels.astype(">u2")), names=()),
    "names of classes beside the arrays": Read(npz(class_names=np.array(list(NAMES)))),
    "names of classes as bytes": Read(npz(label_names=np.array([b"a", b"b", b"c", b"d"]))),
    "classes as numbers": Read(npz(classes=np.arange(4)), ("left out: 1 array (classes)",), names=()),
    "IDX, compressed": Read(idx(zipped=True), names=()),
    "CIFAR's binary batches": Read(cifar),
}


@pytest.mark.parametrize("case", READ.values(), ids=READ.keys())
def test_what_is_odd_is_read_right(tmp_path: Path, case: Read) -> None:
    place = case.make(tmp_path / "set")
    found = _prepared(place, tmp_path / "work", SHAPE)
    assert found.class_names == case.names
    assert found.notes == case.notes
    assert found.classes == 4
    with Records(RunFolder(tmp_path / "work").records) as data:
        read = [read_all(part, found.input) for part in (data.train, data.validation, data.test)]
    images = np.concatenate([part[0] for part in read])
    labels = [label for part in read for label in part[1]]
    assert [corner_of(255 - image if case.dark else image) for image in images] == labels
    assert sorted(labels) == sorted([0, 1, 2, 3] * COUNT)


def _prepared(place: Path, work: Path, shape: tuple[int, int, int]) -> DataDescription:
    if (place / "train-images-idx3-ubyte.gz").exists():
        shape = (1, *shape[1:])  # IDX has no colour
    return prepare(Wanted(str(place), str(work), shape, 4, "the model", CLASSIFICATION, 0)).description


def header_of_a_bomb(place: Path) -> None:
    """Says that it has 60,000×60,000 pixels; is 100 bytes long."""
    whole = bytearray(png(bytes(32 * 32), 8, 0))
    whole[16:24] = struct.pack(">II", 60_000, 60_000)
    whole[29:33] = struct.pack(">I", zlib.crc32(whole[12:29]))
    (place / "b" / "002.png").write_bytes(whole)


def cut_short(suffix: str, lost: int) -> Callable[[Path], Path]:
    """A plain set, one of whose pictures lacks its last bytes."""

    def make(place: Path) -> Path:
        rewritten(suffix)(place)
        path = place / "b" / f"002{suffix}"
        path.write_bytes(path.read_bytes()[:-lost])
        return place

    return make


def all_tiff(place: Path) -> Path:
    return Path(rewritten(".tif")(place))


def one_class_of_tiff(place: Path) -> None:
    for path in (place / "c").glob("*.png"):
        path.rename(path.with_suffix(".tif"))


def one_of_each(place: Path) -> Path:
    """Twelve classes of a single picture."""
    chance = np.random.default_rng(0)
    for number in range(12):
        save(place / f"class{number}" / "1.png", disc(0, chance))
    return place


def alike_as_text(place: Path) -> None:
    (place / "a").rename(place / "\u00e9")
    (place / "b").rename(place / "e\u0301")


def write(name: str, content: bytes) -> Callable[[Path], Path]:
    """A single file instead of a set."""

    def make(place: Path) -> Path:
        path = place.with_name(name)
        path.write_bytes(content)
        return path

    return make


def zipped_pictures(place: Path) -> Path:
    path = place.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for picture in pictures(place):
            archive.write(picture, picture.relative_to(place))
    return path


def archived(place: Path) -> Path:
    path = place.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder(place, count=1))
    return path


def without_classes(place: Path) -> Path:
    """Pictures beside each other, and a list of what they are, as competitions have them."""
    chance = np.random.default_rng(0)
    for number in range(ALL):
        save(place / f"{number}.png", disc(number % 4, chance))
    (place / "labels.csv").touch()
    return place


def single_array(place: Path) -> Path:
    np.save(place.with_suffix(".npy"), arrays()["images"])
    return place.with_suffix(".npy")


def cut_batch(place: Path) -> Path:
    path = cifar(place) / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-7])
    return place


def pickled_batches(place: Path) -> Path:
    place.mkdir()
    (place / "data_batch_1").write_bytes(b"\x80\x02}q\x01")
    return place


def cut_gzip(place: Path) -> Path:
    path = idx(zipped=True)(place) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    return place


def with_nan(images: Bytes) -> Any:
    found = images / np.float32(255)
    found[3, 5] = np.nan
    return found


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "grey of 16 bits": (
        rewritten(".png", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)),
        r"/a/000\.png: has more than 8 bits a channel; convert it to 8",
    ),
    "HEIC, called JPEG": (
        doing(lambda place: (place / "b" / "IMG.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))),
        r"/b/IMG\.jpg: is a HEIC or AVIF picture, whatever its name; convert it to JPEG or PNG",
    ),
    "a link to nowhere": (
        doing(lambda place: (place / "b" / "x.png").symlink_to("nowhere")),
        r"/b/x\.png: cannot be read \(No such file",
    ),
    "a link to itself": (
        doing(lambda place: (place / "b" / "x.png").symlink_to("x.png")),
        r"/b/x\.png: cannot be read \(Too many levels of symbolic links\)",
    ),
    "a pipe": (doing(lambda place: os.mkfifo(place / "b" / "x.png")), r"/b/x\.png: is empty"),
    "an empty file": (doing(lambda place: (place / "b" / "x.png").touch()), r"/b/x\.png: is empty"),
    "a page from the web": (
        doing(lambda place: (place / "b" / "x.jpg").write_bytes(b"<!DOCTYPE html>")),
        r"/b/x\.jpg: is not a PNG, JPEG, BMP or WebP image",
    ),
    "a PNG cut short": (cut_short(".png", 500), r"/b/002\.png: cannot be decoded"),
    "a JPEG cut short": (cut_short(".jpg", 200), r"/b/002\.jpg: cannot be decoded"),
    "a JPEG without its last marker": (cut_short(".jpg", 2), r"/b/002\.jpg: cannot be decoded"),
    "a JPEG cut within its header": (cut_short(".jpg", 600), r"/b/002\.jpg: its header is damaged, or cut short"),
    "a bomb of pixels": (doing(header_of_a_bomb), r"/b/002\.png: 60000×60000 is beyond 8192×8192"),
    "TIFF alone": (all_tiff, r"/a: no image in this class folder \(\.png.*left out: 20 files \(20 \.tif\)"),
    "a class of TIFF": (doing(one_class_of_tiff), r"/c: no image in this class folder .*left out: 5 files \(5 \.tif\)"),
    "one picture of each class": (one_of_each, r"no class has two samples, of which one could be held out to test on"),
    "two class names that are the same as text": (
        doing(alike_as_text),
        r"two class folders are the same as text, b'e\\xcc\\x81' and b'\\xc3\\xa9'; rename one",
    ),
    "pickled images": (
        npz(images=lambda images: images.astype(object)),
        "holds pickled objects, which are never opened",
    ),
    "pickled labels": (
        npz(labels=lambda labels: labels.astype(object)),
        "holds pickled objects, which are never opened",
    ),
    "images of single bits": (
        npz(images=lambda images: images > 128),
        r"images: has elements of type '\|b1'; images are uint8: save .* \* 255",
    ),
    "images of 16 bits": (
        npz(images=lambda images: images.astype(np.uint16)),
        r"images: has elements of type '<u2'; images are uint8, so values from 0 to 255: scale them",
    ),
    "images with NaN": (npz(images=with_nan), r"images: has elements of type '<f4'; images are uint8"),
    "images in Fortran's order": (npz(images=np.asfortranarray), r"is in Fortran order; save numpy\.ascontiguousarray"),
    "labels as one-hot rows": (
        npz(labels=lambda labels: np.eye(4, dtype=np.int64)[labels]),
        r"labels: has the shape 20×4; labels are one integer for each image; of one-hot rows save labels\.argmax\(1\)",
    ),
    "labels as text": (
        npz(labels=lambda labels: np.array(list(NAMES))[labels]),
        r"labels: has text of type '<U1'; labels are integers: save numpy\.unique\(labels, return_inverse=True\)\[1\]",
    ),
    "labels as fractions": (
        npz(labels=lambda labels: labels.astype(float)),
        r"labels: has fractional numbers of type '<f8'; labels are integers: save labels\.astype\(int\)",
    ),
    "a label below 0": (npz(labels=lambda labels: labels - 1), r"labels, record 0: the label -1 is not in 0 … 65535"),
    "images alone": (npz(labels=None), "labels: this array is missing; the file holds images.npy"),
    "fewer labels than images": (npz(labels=lambda labels: labels[:-1]), "holds 19 labels for 20 images"),
    "fewer names than classes": (
        npz(class_names=np.array(["a", "b", "c"])),
        "class_names: has 3 names for 4 classes: labels run to 3",
    ),
    "a name twice": (npz(class_names=np.array(["a", "b", "c", "a"])), "two classes share a name"),
    "pictures without class folders": (
        without_classes,
        "holds 20 pictures and no folders of classes: put each into a folder that is called as its class",
    ),
    "a zip of pictures": (zipped_pictures, r"is a zip of files that are no arrays \(a/000\.png, .*\); unpack it"),
    "an archive": (archived, r"is compressed, or an archive \(unpack it, and give the folder\)"),
    "something compressed": (write("set.gz", gzip.compress(b"anything")), r"is compressed, or an archive \(unpack it"),
    "a single array": (single_array, r"is a single array \(.*images\.npy and labels\.npy"),
    "a single picture": (write("x.jpg", b"\xff\xd8\xff\xe0" + bytes(99)), "is a single picture: in no layout"),
    "a batch of CIFAR that is cut": (cut_batch, r"data_batch_1\.bin, record 19: ends 3066 bytes into a record of 3073"),
    "CIFAR's pickled batches": (pickled_batches, "holds pickled CIFAR-10 batches, which are never opened"),
    "IDX, compressed and cut": (cut_gzip, r"train-images-idx3-ubyte\.gz: is damaged"),
}


def test_images_from_0_to_1_are_none_for_a_network_that_takes_8_bits(tmp_path: Path) -> None:
    place = npz(images=lambda images: images / 255)(tmp_path / "set")
    said = (
        r"images: has elements of type '<f8'; images are uint8: .*save \(images \* 255\)\.round\(\)\.astype\('uint8'\)"
    )
    with pytest.raises(DataError, match=said):
        prepare(Wanted(str(place), str(tmp_path / "work"), SHAPE, 20, "the model", CLASSIFICATION, 0))
    assert main(["check-data", str(place)]) == 0  # it may be for another network


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_right_is_refused_in_a_sentence(
    tmp_path: Path, make: Callable[[Path], Path], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make(tmp_path / "set")
    wanted = Wanted(str(place), str(tmp_path / "work"), SHAPE, 20, "the model", CLASSIFICATION, 0)
    with pytest.raises(DataError, match=said):
        prepare(wanted)
    assert not RunFolder(tmp_path / "work").records.exists()
    code = main(["check-data", str(place)])
    error = capsys.readouterr().err
    for_another_task = "one-hot" in said or "fraction" in said
    if "cannot be decoded" not in said and not for_another_task:  # which takes decoding all of them
        assert code == 2
        lines = [line for line in error.splitlines() if not line.startswith("finding pictures")]  # on a slow machine
        assert len(lines) == 1 and lines[0].startswith("neuroflux: "), error
