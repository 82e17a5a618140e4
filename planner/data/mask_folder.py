"""Folders of images with masks: a class for every pixel. Where they lie is told by `mask_folders.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

from planner.data.class_folders import CLASSES_FILE, class_list, files_beside
from planner.data.folder import check_channels, file_head
from planner.data.framing import resized_extents
from planner.data.mask_folders import MaskLayout
from planner.data.mask_pairs import MasksFound, PairList
from planner.data.mask_pixels import MaskPixels, PixelCounter
from planner.data.masks import decode_mask, mask_bytes
from planner.data.pace import Pace
from planner.data.pictures import decode_into, import_pillow
from planner.data.pictures_found import PicturesFound
from planner.data.split import Parts, check_index, check_shape
from planner.errors import DataError
from planner.schema.common import check_class_names
from planner.tasks.base import Label


def open_mask_folder(
    folder: Path,
    layout: MaskLayout,
    size: tuple[int, int, int] | None,
    ignored: int | None,
    work_dir: Path,
    resources: ExitStack,
    resize: tuple[int, int] | None = None,
    shorter_side: int | None = None,
    pace: Pace | None = None,
) -> Parts:
    """Open images and masks below `folder`; `ignored` is what masks say of pixels of no class.

    `size`, `resize`, `shorter_side` and `pace` are those of a folder of images per class. Masks are resized and cut as
    their images are, by the nearest pixel. Raises DataError, StorageError.
    """
    import_pillow(folder)
    check_channels(folder, size)
    found = MasksFound(PicturesFound(layout.notes, pace), PixelCounter(ignored))
    for name in files_beside(folder):
        found.pictures.left_out.add(name)
    train = PairList(layout.train, work_dir, resources, found)
    others = {part: PairList(pair, work_dir, resources, found) for part, pair in layout.others.items()}
    pictures, pixels = found.pictures, found.pixels.found()
    size = size or (pictures.channels, *(resize or pictures.choose_size(folder)))
    check_shape(str(folder), size)
    splits = {part: MaskSplit(pairs, size, shorter_side) for part, pairs in others.items()}
    names = _class_names(folder, pixels)
    every = (train, *others.values())
    mask, (path, height, width) = ("", 0), found.costly
    if path:
        mask = (path, mask_bytes(height, width, resized_extents(path, (height, width), size[1:], shorter_side)))
    return Parts(
        "masks",
        MaskSplit(train, size, shorter_side),
        splits.get("test"),
        size,
        len(names) or pixels.classes,
        names,
        sum(each.storage_bytes for each in every),
        validation=splits.get("validation"),
        identity="".join(each.identity.hexdigest() for each in every),
        notes=(*found.notes(), *pictures.notes(size, shorter_side)),
        decode_bytes=max(mask, pictures.decode_bytes(size[1:], shorter_side), key=lambda cost: cost[1]),
        labels="mask",
        label_extents=size[1:],
        pixels=pixels,
    )


def _class_names(folder: Path, pixels: MaskPixels) -> tuple[str, ...]:
    """What the classes are called, by number, where `classes.txt` beside the folders says it."""
    file = folder / CLASSES_FILE
    if not file.is_file():
        return ()
    names = tuple(class_list(file))
    try:
        check_class_names(names, len(names))
    except ValueError as error:
        raise DataError(str(file), f"names no classes ({error})") from None
    if len(names) < pixels.classes:
        raise DataError(
            str(file), f"has {len(names)} names, but {pixels.highest_in} has the class {pixels.classes - 1}, from 0"
        )
    return names


class MaskSplit:
    """A part of a folder of images with masks; every read decodes one of each."""

    def __init__(self, pairs: PairList, size: tuple[int, int, int], shorter_side: int | None) -> None:
        self._pairs = pairs
        self._size = size
        self._shorter_side = shorter_side
        self.samples = pairs.count
        self.record_bytes = size[0] * size[1] * size[2]
        self.label_bytes = size[1] * size[2]

    def read_into(self, index: int, image: memoryview) -> Label:
        check_index(index, self.samples)
        path, mask = self._pairs.at(index)
        decode_into(path, self._size, image, self._shorter_side)
        return decode_mask(mask, self._size[1:], self._shorter_side)

    def labels(self) -> Iterator[int]:
        """0 for every image: masks are no classes."""
        return repeat(0, self.samples)

    def label_pieces(self) -> Iterator[bytes]:
        """A digest of all masks."""
        yield self._pairs.digest.digest()

    def stored(self, index: int) -> bytes:
        """The beginning of an image's file."""
        return file_head(self._pairs.at(index)[0])

    def close(self) -> None:
        self._pairs.close()
