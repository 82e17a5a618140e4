"""A folder of images per class: DIR/<class>/*.png, or DIR/train/<class>/ with DIR/validation/ and DIR/test/ beside it.

Every header is read when the folder is opened, and what is found is counted; images are decoded one by one, as they are
asked for. The list of their names lies in the work folder, not in memory: that of a million images is 100 MB long.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise, repeat
from pathlib import Path

from planner import limits
from planner.data.headers import read_header
from planner.data.pictures import check_header, decode, import_pillow
from planner.data.pictures_found import Found
from planner.data.split import Parts, check_index, check_shape
from planner.data.unpack import data_folder
from planner.errors import DataError, StorageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp")

CLASSES_FILE = "classes.txt"
"""Beside the class folders: their names, one a line, in the order of their labels."""

_TRAIN = ("train", "training")
_VALIDATION = ("val", "valid", "validation")
_TEST = ("test", "testing")
_LEFTOVERS = ("__MACOSX", "System Volume Information", "$RECYCLE.BIN")
"""What archives and file systems leave; no classes."""

_MOST_DEPTH = 8
_NAMES_PER_PIECE = 64
_SAMPLED_BYTES = 2**20
_MOST_CLASSES_BYTES = 16 * 2**20
_DIGITS = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which "2" comes before "10", and "img9" before "img10"."""
    parts = (part for part in _DIGITS.split(name) if part)
    return (*((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts), (-1, 0, name))


def find_folders(folder: Path) -> list[str]:
    """The visible folders in `folder`, in natural order: its classes, if it is one part of a data set."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(str(folder), f"cannot be read ({error.strerror})") from None
    return sorted((name for name in found if name not in _LEFTOVERS), key=natural)


def open_folder(
    folder: Path,
    folders: list[str],
    size: tuple[int, int, int] | None,
    work_dir: Path,
    resources: ExitStack,
    resize: tuple[int, int] | None = None,
) -> Parts | None:
    """Open the images below `folder`, whose visible folders are `folders`; None where there are none.

    `size` is (channels, height, width): images are converted to grey or colour and resized to it. Without it they are
    grey where all of them are, and of the size that more than half of them have, or `resize` (height, width).
    """
    import_pillow(folder)
    if size is not None and size[0] not in (1, 3):
        raise DataError(str(folder), f"images have 1 channel (grey) or 3 (colour); {size[0]} are wanted")
    layout = _layout(folder, folders)
    classes = _class_names(layout.train)
    if len(classes) > limits.MAX_CLASSES:
        raise DataError(str(folder), f"has {len(classes)} class folders; at most {limits.MAX_CLASSES} are read")
    for name in classes:
        if len(_text(name)) > limits.MAX_NAME_LENGTH:
            problem = f"the name of a class has at most {limits.MAX_NAME_LENGTH} characters"
            raise DataError(str(layout.train / name), problem)
    found = Found(layout.notes)
    names = _Names(layout.train, classes, work_dir, resources, found)
    if names.count == 0:
        return None
    names.check_no_class_is_empty()
    others = {
        part: _open_other(place, layout.train, classes, work_dir, resources, found)
        for part, place in layout.others.items()
    }
    size = size or (found.channels, *(resize or found.choose_size(folder)))
    check_shape(str(folder), size)
    every = (names, *others.values())
    splits = {part: FolderSplit(each, size) for part, each in others.items()}
    return Parts(
        "folder",
        FolderSplit(names, size),
        splits.get("test"),
        size,
        len(classes),
        tuple(_text(name) for name in classes),
        sum(each.storage_bytes for each in every),
        validation=splits.get("validation"),
        identity="".join(each.identity.hexdigest() for each in every),
        notes=found.notes(size),
        decode_bytes=found.decode_bytes(size[1:]),
    )


class _Layout:
    """Which folders are the parts of a set."""

    def __init__(self, train: Path) -> None:
        self.train = train
        self.others: dict[str, Path] = {}
        self.notes: list[str] = []


def _layout(folder: Path, folders: list[str]) -> _Layout:
    parts = {name: _part_named(name) for name in folders}
    trained = [name for name, part in parts.items() if part == "train" and find_folders(folder / name)]
    if not trained:
        return _Layout(folder)
    layout = _Layout(folder / trained[0])
    for name in folders:
        part = parts[name]
        if name == trained[0]:
            continue
        if part in ("validation", "test") and part not in layout.others and find_folders(folder / name):
            layout.others[part] = folder / name
        else:
            reason = "no class folders" if part in ("validation", "test") else "no part of the set"
            layout.notes.append(f"left out: the folder {_text(name)!r} beside {_text(trained[0])!r} ({reason})")
    if "test" not in layout.others and "validation" in layout.others:
        layout.others["test"] = layout.others.pop("validation")
        layout.notes.append(f"there is no test part: the folder {layout.others['test'].name!r} is tested on")
    return layout


def _part_named(name: str) -> str | None:
    lowered = name.casefold()
    named = {"train": _TRAIN, "validation": _VALIDATION, "test": _TEST}
    return next((part for part, names in named.items() if lowered in names), None)


def _class_names(folder: Path) -> list[str]:
    """The classes of a part, in natural order, or as `classes.txt` beside them says."""
    found = find_folders(folder)
    for place in (folder / CLASSES_FILE, folder.parent / CLASSES_FILE):
        if place.is_file() and (place.parent == folder or _part_named(folder.name) == "train"):
            return _ordered(place, found)
    return found


def _ordered(file: Path, found: list[str]) -> list[str]:
    """The folders as a list of names orders them. Raises DataError where it names others."""
    try:
        if file.stat().st_size > _MOST_CLASSES_BYTES:
            raise DataError(str(file), "is too long for a list of class names")
        given = [line.strip() for line in file.read_text("utf-8", "surrogateescape").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(str(file), f"cannot be read ({error.strerror})") from None
    if sorted(given) != sorted(found):
        lacking, more = sorted(set(found) - set(given)), sorted(set(given) - set(found))
        said = [f"{what} {_few(names)}" for what, names in (("lacks", lacking), ("has no folder for", more)) if names]
        raise DataError(str(file), f"does not name the class folders: {', '.join(said) or 'a name stands twice'}")
    return given


def _few(names: list[str]) -> str:
    return ", ".join(repr(_text(name)) for name in names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _text(name: str) -> str:
    """A file's name as text that any document holds."""
    return os.fsencode(name).decode("utf-8", "replace")


def _open_other(
    folder: Path, train: Path, classes: list[str], work_dir: Path, resources: ExitStack, found: Found
) -> _Names:
    unknown = [name for name in find_folders(folder) if name not in set(classes)]
    if unknown:
        raise DataError(str(folder / unknown[0]), f"this class is not in {train}")
    names = _Names(folder, classes, work_dir, resources, found)
    if names.count == 0:
        raise DataError(str(folder), "holds no samples")
    return names


class _Names:
    """The image files of one part in order of class, then name: written to a nameless file, found again by index."""

    def __init__(
        self, folder: Path, classes: Sequence[str], work_dir: Path, resources: ExitStack, found: Found
    ) -> None:
        self.folder = folder
        self.classes = classes
        self.count = 0
        self.storage_bytes = 0
        self.identity = hashlib.sha256()
        """Of classes, names and sizes."""
        self._found = found
        self._class_starts = array("Q")
        self._piece_starts = array("Q")
        where = data_folder(work_dir)
        try:
            # `resources` closes it, and its storage is free again then.
            self._file = resources.enter_context(tempfile.TemporaryFile(dir=where, buffering=0))  # noqa: SIM115  # closed by resources
            for name in classes:
                self._class_starts.append(self.count)
                self.identity.update(os.fsencode(name) + b"\0")
                if (folder / name).is_dir():
                    self._append(folder / name)
        except OSError as error:
            raise StorageError(f"{where}: the list of image files cannot be written ({error.strerror})") from None

    def _append(self, folder: Path) -> None:
        stored = bytearray()
        for name in _images_in(os.fsencode(folder), self._found):
            if self.count % _NAMES_PER_PIECE == 0:
                self._piece_starts.append(self.storage_bytes + len(stored))
            path = os.fsdecode(os.path.join(os.fsencode(folder), name))  # noqa: PTH118  # a million times
            header, size = read_header(path), os.stat(path).st_size  # noqa: PTH116  # as above
            check_header(path, header)
            self._found.add(path, header, size)
            self.identity.update(b"%b\0%d\0" % (name, size))
            stored += name + b"\0"
            self.count += 1
        rest = memoryview(stored)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.storage_bytes += len(stored)

    def check_no_class_is_empty(self) -> None:
        starts = [*self._class_starts, self.count]
        for name, (start, end) in zip(self.classes, pairwise(starts), strict=True):
            if start == end:
                raise DataError(str(self.folder / name), f"no image in this class folder ({', '.join(SUFFIXES)})")

    def labels(self) -> Iterator[int]:
        """The label of every image in order."""
        starts = [*self._class_starts, self.count]
        for label, (start, end) in enumerate(pairwise(starts)):
            yield from repeat(label, end - start)

    def at(self, index: int) -> tuple[Path, int]:
        """Return path and label of image `index`."""
        piece, place = divmod(index, _NAMES_PER_PIECE)
        start = self._piece_starts[piece]
        end = self._piece_starts[piece + 1] if piece + 1 < len(self._piece_starts) else self.storage_bytes
        name = os.pread(self._file.fileno(), end - start, start).split(b"\0")[place]
        label = bisect_right(self._class_starts, index) - 1
        return self.folder / self.classes[label] / os.fsdecode(name), label

    def close(self) -> None:
        self._file.close()


def _images_in(folder: bytes, found: Found, inside: bytes = b"", depth: int = 0) -> list[bytes]:
    """Names of the images in a class folder, sorted, those in folders within it with these before them."""
    names: list[bytes] = []
    folders: list[bytes] = []
    try:
        with os.scandir(os.path.join(folder, inside)) as entries:  # noqa: PTH118  # bytes
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.name.lower().endswith(_ENDINGS):
                    names.append(inside + entry.name)
                else:
                    found.left_out.add(os.fsdecode(entry.name))
    except OSError as error:
        raise DataError(os.fsdecode(folder), f"cannot be read ({error.strerror})") from None
    names.sort()
    if depth:
        found.nested += len(names)
    for name in sorted(folders):
        place = os.path.join(folder, inside, name)  # noqa: PTH118  # bytes
        if os.path.islink(place) or depth == _MOST_DEPTH:  # noqa: PTH114  # links may lead round in circles
            found.skipped_folders += 1
        elif os.fsdecode(name) not in _LEFTOVERS:
            names += _images_in(folder, found, inside + name + b"/", depth + 1)
    return names


_ENDINGS = tuple(suffix.encode() for suffix in SUFFIXES)


class FolderSplit:
    """A part of an image folder; every read decodes one image."""

    def __init__(self, names: _Names, size: tuple[int, int, int]) -> None:
        self._names = names
        self._size = size
        self.samples = names.count
        self.record_bytes = size[0] * size[1] * size[2]

    def read_into(self, index: int, image: memoryview) -> int:
        check_index(index, self.samples)
        if image.nbytes != self.record_bytes:
            raise ValueError(f"{image.nbytes} bytes given for an image of {self.record_bytes}")
        path, label = self._names.at(index)
        pixels = decode(path, self._size)
        channels = self._size[0]
        plane = self.record_bytes // channels
        for channel in range(channels):
            image[channel * plane : (channel + 1) * plane] = pixels[channel::channels]
        return label

    def labels(self) -> Iterator[int]:
        """The label of every image in order."""
        return self._names.labels()

    def stored(self, index: int) -> bytes:
        """The beginning of an image's file."""
        path, _ = self._names.at(index)
        try:
            with path.open("rb") as file:
                return file.read(_SAMPLED_BYTES)
        except OSError as error:
            raise DataError(str(path), f"cannot be read ({error.strerror})") from None

    def close(self) -> None:
        self._names.close()
