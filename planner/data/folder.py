"""A folder of images per class: DIR/<class>/*.png, or DIR/train/<class>/ and DIR/test/<class>/ (or val).

Images are decoded one by one, as they are asked for. The list of their names lies in the work folder, not in memory:
that of a million images is 100 MB long.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_right
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from planner import limits
from planner.data.split import Parts, Split, check_index, check_shape
from planner.data.unpack import data_folder
from planner.errors import DataError, StorageError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

_TEST_FOLDERS = ("test", "val")
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_SIGNATURE_BYTES = 12
_GREY_MODES = ("1", "L", "LA")
_DEEP_MODES = ("I", "F")
_NAMES_PER_PIECE = 64


def find_classes(folder: Path) -> list[str]:
    """Return the sorted names of the visible folders in `folder`: its classes, if it is one part of a data set."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(str(folder), f"cannot be read ({error.strerror})") from None


def open_folder(
    folder: Path, classes: list[str], size: tuple[int, int, int] | None, work_dir: Path, resources: ExitStack
) -> Parts | None:
    """Open the images below `folder`, whose visible folders are `classes`; None where there are none.

    `size` is (channels, height, width): images are converted to grey or colour and resized to it. Without it the
    first image decides.
    """
    _import_pillow(folder)
    train_folder, test_folder = folder, None
    if "train" in classes and (inner := find_classes(folder / "train")):
        train_folder, classes = folder / "train", inner
        tests = (folder / name for name in _TEST_FOLDERS if (folder / name).is_dir())
        test_folder = next((path for path in tests if find_classes(path)), None)
    if len(classes) > limits.MAX_CLASSES:
        raise DataError(str(folder), f"has {len(classes)} class folders; at most {limits.MAX_CLASSES} are read")
    names = _Names(train_folder, classes, work_dir, resources)
    if names.count == 0:
        return None
    names.check_no_class_is_empty()
    size = size or _size_of_first(names)
    if size[0] not in (1, 3):
        raise DataError(str(folder), f"images have 1 channel (grey) or 3 (colour); {size[0]} are wanted")
    check_shape(str(folder), size)
    test: Split | None = None
    storage_bytes = names.storage_bytes
    if test_folder is not None:
        test_names = _open_test(test_folder, train_folder, classes, work_dir, resources)
        storage_bytes += test_names.storage_bytes
        test = FolderSplit(test_names, size)
    return Parts(FolderSplit(names, size), test, size, len(classes), tuple(classes), storage_bytes)


def _open_test(folder: Path, train: Path, classes: list[str], work_dir: Path, resources: ExitStack) -> _Names:
    unknown = sorted(set(find_classes(folder)) - set(classes))
    if unknown:
        raise DataError(str(folder / unknown[0]), f"this class is not in {train}")
    names = _Names(folder, classes, work_dir, resources)
    if names.count == 0:
        raise DataError(str(folder), "holds no samples")
    return names


class _Names:
    """The image files of one part in order of class, then name: written to a nameless file, found again by index."""

    def __init__(self, folder: Path, classes: list[str], work_dir: Path, resources: ExitStack) -> None:
        self.folder = folder
        self.classes = classes
        self.count = 0
        self.storage_bytes = 0
        self._class_starts = array("Q")
        self._piece_starts = array("Q")
        where = data_folder(work_dir)
        try:
            # `resources` closes it, and its storage is free again then.
            self._file = resources.enter_context(tempfile.TemporaryFile(dir=where, buffering=0))  # noqa: SIM115  # closed by resources
            for name in classes:
                self._class_starts.append(self.count)
                if (folder / name).is_dir():
                    self._append(_images_in(folder / name))
        except OSError as error:
            raise StorageError(f"{where}: the list of image files cannot be written ({error.strerror})") from None

    def _append(self, names: list[bytes]) -> None:
        stored = bytearray()
        for name in names:
            if self.count % _NAMES_PER_PIECE == 0:
                self._piece_starts.append(self.storage_bytes + len(stored))
            stored += name + b"\0"
            self.count += 1
        rest = memoryview(stored)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.storage_bytes += len(stored)

    def check_no_class_is_empty(self) -> None:
        starts = [*self._class_starts, self.count]
        for name, start, end in zip(self.classes, starts, starts[1:], strict=False):
            if start == end:
                raise DataError(str(self.folder / name), f"no image in this class folder ({', '.join(SUFFIXES)})")

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


def _images_in(folder: Path) -> list[bytes]:
    """Return the sorted names of the images in a class folder, each one known by its first bytes for an image."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                os.fsencode(entry.name)
                for entry in entries
                if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and not entry.is_dir()
            )
    except OSError as error:
        raise DataError(str(folder), f"cannot be read ({error.strerror})") from None
    for name in names:
        _check_signature(folder / os.fsdecode(name))
    return names


def _check_signature(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            head = os.read(descriptor, _SIGNATURE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})") from None
    if not head:
        raise DataError(str(path), "is empty")
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if not webp and not head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")):
        raise DataError(str(path), "is not a PNG, JPEG, BMP or WebP image")


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
        pixels = _decode(path, self._size)
        channels = self._size[0]
        plane = self.record_bytes // channels
        for channel in range(channels):
            image[channel * plane : (channel + 1) * plane] = pixels[channel::channels]
        return label

    def close(self) -> None:
        self._names.close()


def _import_pillow(folder: Path) -> None:
    try:
        # Named one by one: Pillow would otherwise import all forty of its formats to find WebP.
        from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401  # to register
    except ImportError:
        raise DataError(
            str(folder), "reading image files needs Pillow: pip install 'neuroflux-planner[images]'"
        ) from None


def _open_image(path: Path) -> Image:
    """Read an image's header. Raises DataError for extents beyond the limits and for more than 8 bits a channel."""
    from PIL import Image

    image = Image.open(path, formats=_FORMATS)
    problem = None
    if max(image.size) > limits.MAX_EXTENT:
        problem = f"{image.height}×{image.width} is beyond {limits.MAX_EXTENT}×{limits.MAX_EXTENT}"
    elif image.mode.startswith(_DEEP_MODES):
        problem = "has more than 8 bits a channel; convert it to 8"
    if problem is not None:
        image.close()
        raise DataError(str(path), problem)
    return image


def _decode(path: Path, size: tuple[int, int, int]) -> bytes:
    """Return the image converted and resized, channels last."""
    from PIL.Image import Resampling

    channels, height, width = size
    try:
        with _open_image(path) as image:
            # A JPEG can be decoded at an eighth of its size. Twice what is needed keeps the result the same to the
            # eye and a camera's picture from taking 36 MB.
            image.draft(None, (2 * width, 2 * height))
            converted = image.convert("L" if channels == 1 else "RGB")
        if converted.size != (width, height):
            converted = converted.resize((width, height), Resampling.BILINEAR)
        return converted.tobytes()
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow's formats let dozens of kinds through for damaged files
        raise DataError(str(path), f"cannot be decoded ({error})") from None


def _size_of_first(names: _Names) -> tuple[int, int, int]:
    path, _ = names.at(0)
    try:
        with _open_image(path) as image:
            return (1 if image.mode in _GREY_MODES else 3, image.height, image.width)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # as above
        raise DataError(str(path), f"cannot be decoded ({error})") from None
