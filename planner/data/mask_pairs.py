"""The images of one part and their masks: files that are called alike but for their suffix, found by index.

Images and masks are listed and sorted apart, and gone through side by side, so that few names are in memory however
many there are. Every header is read and every mask decoded once, here; images are decoded as they are asked for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from planner.data.class_folders import LEFTOVERS, is_folder, text
from planner.data.headers import read_header
from planner.data.left_out import FilesLeftOut
from planner.data.mask_folders import Pair
from planner.data.mask_pixels import PixelCounter
from planner.data.masks import SUFFIXES as MASKS
from planner.data.masks import decode_mask, mask_header
from planner.data.picture_list import SUFFIXES as IMAGES
from planner.data.pictures import check_header
from planner.data.pictures_found import PicturesFound
from planner.data.stored_names import StoredNames, sorted_names
from planner.data.unpack import data_folder
from planner.errors import DataError, StorageError

_MOST_DEPTH = 8
_MARK = b"_mask"
"""What masks' names may have behind their images'."""
_END = b"\1"
"""Between what is the same of image and mask, and the rest of a name: it comes before whatever names hold."""
_MOST_LISTED_BYTES = 4096
_SHOWN = 3
_LARGE_PIXELS = 2**20
"""Any budget has room for a mask of fewer."""


class Unpaired:
    """Counts files without a partner, and keeps the names of the first."""

    def __init__(self, what: str, lacks: str) -> None:
        self._what, self._lacks = what, lacks
        self._count = 0
        self._first: list[str] = []

    def add(self, path: Path) -> None:
        """Count one."""
        self._count += 1
        if len(self._first) < _SHOWN:
            self._first.append(text(path.name))

    def notes(self) -> Iterator[str]:
        """In words, where there are any."""
        if self._count:
            names = ", ".join(self._first) + (", …" if self._count > _SHOWN else "")
            what = self._what if self._count == 1 else f"{self._what}s"
            yield f"left out: {self._count} {what} without {self._lacks} ({names})"


class MasksFound:
    """What is counted over all parts of a set."""

    def __init__(self, pictures: PicturesFound, pixels: PixelCounter) -> None:
        self.pictures = pictures
        """Images, and files that are neither."""
        self.pixels = pixels
        """Pixels of the masks."""
        self.images = Unpaired("image", "a mask")
        """Those that have none."""
        self.masks = Unpaired("mask", "an image")
        """Those that have none."""
        self.costly = ("", 0, 0)
        """The largest mask that takes much to decode, its height and width."""

    def notes(self) -> Iterator[str]:
        """What a person should know."""
        yield from self.images.notes()
        yield from self.masks.notes()


class PairList:
    """Image and mask of every sample, in order of their names."""

    def __init__(self, pair: Pair, work_dir: Path, resources: ExitStack, found: MasksFound) -> None:
        """`found` counts what is there. Raises DataError, StorageError."""
        self.pair = pair
        self.identity = hashlib.sha256()
        """Of names and sizes."""
        self.digest = hashlib.sha256()
        """Of all masks."""
        self._found = found
        where = data_folder(work_dir)
        self._names = StoredNames(where, resources)
        try:
            for image, mask in self._matched(where):
                self._append(image, mask)
        except OSError as error:
            raise StorageError(f"{where}: the list of image files cannot be written ({error.strerror})") from None
        self._names.flush()
        if not self.count:
            self._refuse()

    @property
    def count(self) -> int:
        """How many there are."""
        return self._names.count // 2

    @property
    def storage_bytes(self) -> int:
        """What their names take."""
        return self._names.storage_bytes

    def at(self, index: int) -> tuple[Path, Path]:
        """Image and mask of sample `index`."""
        image, mask = (self._names.at(2 * index + place) for place in range(2))
        return self.pair.images / os.fsdecode(image), self.pair.masks / os.fsdecode(mask)

    def close(self) -> None:
        """Forget the list; its storage is free again."""
        self._names.close()

    def _matched(self, scratch: Path) -> Iterator[tuple[bytes, bytes]]:
        """Names of images and masks that belong together, those of a list where there is one."""
        images = _entries(self.pair.images, _ends(IMAGES), self._found.pictures.left_out)
        mark = _mark(self.pair)
        masks = _entries(self.pair.masks, _ends(MASKS), self._found.pictures.left_out, mark)
        rows = _side_by_side(
            _unique(sorted_names(images, scratch), self.pair.images, "images"),
            _unique(sorted_names(masks, scratch), self.pair.masks, "masks"),
        )
        listed = self.pair.listed
        if listed is not None:
            rows = _listed(rows, sorted_names(_lines(listed), scratch), listed)
        for key, image, mask in rows:
            if image is None:
                self._found.masks.add(self.pair.masks / os.fsdecode(key + (mask or b"")))
            elif mask is None:
                self._found.images.add(self.pair.images / os.fsdecode(key + image))
            else:
                yield key + image, key + mask

    def _append(self, image: bytes, mask: bytes) -> None:
        path, mask_path = self.pair.images / os.fsdecode(image), self.pair.masks / os.fsdecode(mask)
        header, size = read_header(path), path.stat().st_size
        check_header(path, header)
        there = mask_header(mask_path, header.upright)
        found, (_, height, width) = self._found, self._found.costly
        if there.height * there.width > max(height * width, _LARGE_PIXELS):
            found.costly = (str(mask_path), there.height, there.width)
        values = decode_mask(mask_path)
        found.pixels.add(values, str(mask_path))
        found.pictures.add(str(path), header, size)
        self.digest.update(values)
        self.identity.update(b"%b\0%b\0%d\0%d\0" % (image, mask, size, mask_path.stat().st_size))
        self._names.append(image)
        self._names.append(mask)

    def _refuse(self) -> None:
        said = "; ".join((*self._found.notes(), *self._found.pictures.left_out.notes())) or "it is empty"
        raise DataError(
            str(self.pair.images),
            f"holds no image that has a mask in {self.pair.masks}, which is a {' or '.join(MASKS)} file of the same "
            f"name but for its suffix: {said}",
        )


def _ends(suffixes: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(suffix.encode() for suffix in suffixes)


def _entries(
    folder: Path,
    ends: tuple[bytes, ...],
    left_out: FilesLeftOut,
    mark: bytes = b"",
    inside: bytes = b"",
    depth: int = 0,
) -> Iterator[bytes]:
    """Names of files with such ends, each within `folder`, with `_END` before `mark` and suffix, as they come."""
    folders: list[bytes] = []
    try:
        with os.scandir(os.path.join(os.fsencode(folder), inside)) as entries:  # noqa: PTH118  # bytes
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                if is_folder(entry):
                    folders.append(entry.name)
                elif entry.name.lower().endswith(ends):
                    yield inside + _parted(entry.name, mark)
                else:
                    left_out.add(os.fsdecode(entry.name))
    except OSError as error:
        raise DataError(os.fsdecode(folder), f"cannot be read ({error.strerror})") from None
    for name in folders:
        path: Any = os.path.join(os.fsencode(folder), inside, name)  # noqa: PTH118  # bytes
        if not os.path.islink(path) and depth < _MOST_DEPTH and os.fsdecode(name) not in LEFTOVERS:  # noqa: PTH114  # as above
            yield from _entries(folder, ends, left_out, mark, inside + name + b"/", depth + 1)


def _mark(pair: Pair) -> bytes:
    """What the names of masks have behind those of their images: the first one says it."""
    first = next(_entries(pair.masks, _ends(MASKS), FilesLeftOut()), b"")
    stem = os.fsdecode(first.partition(_END)[0])
    whole = any((pair.images / (stem + suffix)).exists() for suffix in IMAGES)
    return _MARK if stem.endswith(os.fsdecode(_MARK)) and not whole else b""


def _parted(name: bytes, mark: bytes) -> bytes:
    stem, dot, suffix = name.rpartition(b".")
    key = stem.removesuffix(mark)
    return key + _END + stem[len(key) :] + dot + suffix


def _unique(entries: Iterator[bytes], folder: Path, what: str) -> Iterator[tuple[bytes, bytes]]:
    """What is the same of image and mask, and the rest. Raises DataError where two files would be the same sample's."""
    before = (b"", b"")
    for entry in entries:
        key, _, rest = entry.partition(_END)
        if key == before[0] and before[1]:
            names = " and ".join(text(os.fsdecode(key + each)) for each in (before[1], rest))
            raise DataError(str(folder), f"has two {what} of one name, {names}; remove one")
        before = key, rest
        yield before


def _side_by_side(
    images: Iterator[tuple[bytes, bytes]], masks: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Of every name what there is of it: both are in order."""
    image, mask = next(images, None), next(masks, None)
    while image is not None or mask is not None:
        key = min(each[0] for each in (image, mask) if each is not None)
        ours = image[1] if image is not None and image[0] == key else None
        theirs = mask[1] if mask is not None and mask[0] == key else None
        yield key, ours, theirs
        image = next(images, None) if ours is not None else image
        mask = next(masks, None) if theirs is not None else mask


def _lines(listed: Path) -> Iterator[bytes]:
    """The names in a list; what stands behind a space is none."""
    try:
        with listed.open("rb") as file:
            while line := file.readline(_MOST_LISTED_BYTES):
                if words := line.replace(b"\0", b"").split():
                    yield words[0]
    except OSError as error:
        raise DataError(str(listed), f"cannot be read ({error.strerror})") from None


def _listed(
    rows: Iterator[tuple[bytes, bytes | None, bytes | None]], names: Iterator[bytes], listed: Path
) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """The rows that a list names. Raises DataError where one of them is not there, or not whole."""
    row = next(rows, None)
    for name in names:
        while row is not None and row[0] < name:
            row = next(rows, None)
        if row is None or row[0] != name or None in row:
            lacks = "image" if row is None or row[0] != name or row[1] is None else "mask"
            raise DataError(str(listed), f"names {text(os.fsdecode(name))!r}, of which there is no {lacks}")
        yield row
