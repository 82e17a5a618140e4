"""The picture files of one part of a folder: every header read once, their names written to storage, found by index.

However many there are, no more than a few thousand names are in memory: those of a folder are sorted by pieces, which
are merged from storage.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise, repeat
from pathlib import Path

from planner.data.class_folders import LEFTOVERS, is_folder
from planner.data.headers import read_header
from planner.data.pictures import check_header
from planner.data.pictures_found import PicturesFound
from planner.data.stored_names import StoredNames, sorted_names
from planner.data.unpack import data_folder
from planner.errors import DataError, StorageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp")

_ENDINGS = tuple(suffix.encode() for suffix in SUFFIXES)
_MOST_DEPTH = 8


class PictureList:
    """The image files of one part in order of class, then name."""

    def __init__(
        self, folder: Path, classes: Sequence[str], work_dir: Path, resources: ExitStack, found: PicturesFound
    ) -> None:
        """List the folders `classes` in `folder`; `found` counts what is there. Raises DataError, StorageError."""
        self.folder = folder
        self.classes = classes
        self.identity = hashlib.sha256()
        """Of classes, names and sizes."""
        self._found = found
        self._class_starts = array("Q")
        where = data_folder(work_dir)
        self._names = StoredNames(where, resources)
        try:
            for name in classes:
                self._class_starts.append(self.count)
                self.identity.update(os.fsencode(name) + b"\0")
                if (folder / name).is_dir():
                    self._append(os.fsencode(folder / name), where)
        except OSError as error:
            raise StorageError(f"{where}: the list of image files cannot be written ({error.strerror})") from None
        self._names.flush()

    @property
    def count(self) -> int:
        """How many there are."""
        return self._names.count

    @property
    def storage_bytes(self) -> int:
        """What their names take."""
        return self._names.storage_bytes

    def _append(self, folder: bytes, scratch: Path) -> None:
        for name in _pictures(folder, self._found, scratch):
            path = os.fsdecode(os.path.join(folder, name))  # noqa: PTH118  # a million times
            header, size = read_header(path), os.stat(path).st_size  # noqa: PTH116  # as above
            check_header(path, header)
            self._found.add(path, header, size)
            self.identity.update(b"%b\0%d\0" % (name, size))
            self._names.append(name)

    def check_no_class_is_empty(self) -> None:
        """Raise DataError for the first class without an image."""
        starts = [*self._class_starts, self.count]
        for name, (start, end) in zip(self.classes, pairwise(starts), strict=True):
            if start == end:
                said = "; ".join(
                    (f"no image in this class folder ({', '.join(SUFFIXES)})", *self._found.left_out.notes())
                )
                raise DataError(str(self.folder / name), said)

    def labels(self) -> Iterator[int]:
        """The label of every image in order."""
        starts = [*self._class_starts, self.count]
        for label, (start, end) in enumerate(pairwise(starts)):
            yield from repeat(label, end - start)

    def at(self, index: int) -> tuple[Path, int]:
        """Return path and label of image `index`."""
        name = self._names.at(index)
        label = bisect_right(self._class_starts, index) - 1
        return self.folder / self.classes[label] / os.fsdecode(name), label

    def close(self) -> None:
        """Forget the list; its storage is free again."""
        self._names.close()


def _pictures(
    folder: bytes, found: PicturesFound, scratch: Path, inside: bytes = b"", depth: int = 0
) -> Iterator[bytes]:
    """Names of the images in a class folder, sorted, those in folders within it with these before them."""
    folders: list[bytes] = []
    yield from sorted_names(_files(folder, found, inside, depth, folders), scratch)
    for name in sorted(folders):
        path = os.path.join(folder, inside, name)  # noqa: PTH118  # bytes
        if os.path.islink(path) or depth == _MOST_DEPTH:  # noqa: PTH114  # links may lead round in circles
            found.skipped_folders += 1
        elif os.fsdecode(name) not in LEFTOVERS:
            yield from _pictures(folder, found, scratch, inside + name + b"/", depth + 1)


def _files(folder: bytes, found: PicturesFound, inside: bytes, depth: int, folders: list[bytes]) -> Iterator[bytes]:
    """Names of the images in a folder as they come; folders within it are put into `folders`."""
    try:
        with os.scandir(os.path.join(folder, inside)) as entries:  # noqa: PTH118  # bytes
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                if is_folder(entry):
                    folders.append(entry.name)
                elif entry.name.lower().endswith(_ENDINGS):
                    found.nested += depth > 0
                    yield inside + entry.name
                else:
                    found.left_out.add(os.fsdecode(entry.name))
    except OSError as error:
        raise DataError(os.fsdecode(folder), f"cannot be read ({error.strerror})") from None
