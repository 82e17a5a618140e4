"""A folder of images per class: DIR/<class>/*.png, or DIR/train/<class>/ with DIR/validation/ and DIR/test/ beside it.

Every header is read when the folder is opened, and what is found is counted; images are decoded one by one, as they are
asked for. The list of their names lies in the work folder, not in memory: that of a million images is 100 MB long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from planner.data.class_folders import (
    Layout,
    class_names,
    files_beside,
    find_folders,
    find_parts,
    folders_by_text,
    text,
)
from planner.data.pace import Pace
from planner.data.picture_list import PictureList
from planner.data.pictures import decode_into, import_pillow
from planner.data.pictures_found import PicturesFound
from planner.data.split import Parts, check_index, check_shape
from planner.errors import DataError
from planner.tasks.base import CLASS_BYTES, Label, class_label

_SAMPLED_BYTES = 2**20


def open_folder(
    folder: Path,
    folders: list[str],
    size: tuple[int, int, int] | None,
    work_dir: Path,
    resources: ExitStack,
    resize: tuple[int, int] | None = None,
    shorter_side: int | None = None,
    pace: Pace | None = None,
) -> Parts | None:
    """Open the images below `folder`, whose visible folders are `folders`; None where there are none.

    `size` is (channels, height, width): images are converted to grey or colour and resized to it. Without it they are
    grey where all of them are, and of the size that more than half of them have, or `resize` (height, width), which is
    cut out of the middle where `shorter_side` says what they are resized to before. `pace` tells how many were found.
    """
    import_pillow(folder)
    check_channels(folder, size)
    layout = find_parts(folder, folders)
    classes = class_names(layout.train)
    found = PicturesFound(layout.notes, pace)
    names = PictureList(layout.train, classes, work_dir, resources, found)
    if names.count == 0 and not found.left_out:
        return None
    _count_beside(folder, layout, found)
    names.check_no_class_is_empty()
    others = {
        part: _open_other(path, layout.train, classes, work_dir, resources, found)
        for part, path in layout.others.items()
    }
    size = size or (found.channels, *(resize or found.choose_size(folder)))
    check_shape(str(folder), size)
    every = (names, *others.values())
    splits = {part: FolderSplit(each, size, shorter_side) for part, each in others.items()}
    return Parts(
        "folder",
        FolderSplit(names, size, shorter_side),
        splits.get("test"),
        size,
        len(classes),
        tuple(text(name) for name in classes),
        sum(each.storage_bytes for each in every),
        validation=splits.get("validation"),
        identity="".join(each.identity.hexdigest() for each in every),
        notes=found.notes(size, shorter_side),
        decode_bytes=found.decode_bytes(size[1:], shorter_side),
    )


def check_channels(folder: Path, size: tuple[int, int, int] | None) -> None:
    """Raise DataError where pictures are wanted with channels that they do not have."""
    if size is not None and size[0] not in (1, 3):
        raise DataError(str(folder), f"images have 1 channel (grey) or 3 (colour); {size[0]} are wanted")


def file_head(path: Path) -> bytes:
    """The beginning of a file, to know it again by. Raises DataError."""
    try:
        with path.open("rb") as file:
            return file.read(_SAMPLED_BYTES)
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})") from None


def _count_beside(folder: Path, layout: Layout, found: PicturesFound) -> None:
    """Count the files beside class folders and parts."""
    for path in dict.fromkeys((folder, layout.train, *layout.others.values())):
        for name in files_beside(path):
            found.left_out.add(name)


def _open_other(
    folder: Path, train: Path, classes: list[str], work_dir: Path, resources: ExitStack, found: PicturesFound
) -> PictureList:
    there = folders_by_text(folder, find_folders(folder))
    unknown = set(there) - {text(name) for name in classes}
    if unknown:
        raise DataError(str(folder / there[min(unknown)]), f"this class is not in {train}")
    names = PictureList(folder, [there.get(text(name), name) for name in classes], work_dir, resources, found)
    if names.count == 0:
        raise DataError(str(folder), "holds no samples")
    return names


class FolderSplit:
    """A part of an image folder; every read decodes one image."""

    def __init__(self, names: PictureList, size: tuple[int, int, int], shorter_side: int | None) -> None:
        self._names = names
        self._size = size
        self._shorter_side = shorter_side
        self.samples = names.count
        self.record_bytes = size[0] * size[1] * size[2]
        self.label_bytes = CLASS_BYTES

    def read_into(self, index: int, image: memoryview) -> Label:
        check_index(index, self.samples)
        path, label = self._names.at(index)
        decode_into(path, self._size, image, self._shorter_side)
        return class_label(label)

    def labels(self) -> Iterator[int]:
        """The label of every image in order."""
        return self._names.labels()

    def label_pieces(self) -> Iterator[bytes]:
        """Nothing: they are classes."""
        return iter(())

    def stored(self, index: int) -> bytes:
        """The beginning of an image's file."""
        return file_head(self._names.at(index)[0])

    def close(self) -> None:
        self._names.close()
