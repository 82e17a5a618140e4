"""A folder of IDX files, as MNIST and Fashion-MNIST come: magic number, big-endian extents, then the bytes.

Format: http://yann.lecun.com/exdb/mnist, section "File formats".
"""

from __future__ import annotations

import gzip
import math
import re
import struct
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from planner.data.arrays import ArraySplit, Labels, RecordFile, SampleArray, check_counts, check_same_form
from planner.data.left_out import files_left_out
from planner.data.split import Parts, check_samples, check_shape
from planner.data.unpack import CORRUPT, check_room, unpack
from planner.errors import DataError

_FILE = re.compile(r"(emnist-[a-z]+-)?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_ON_ITS_SIDE = "EMNIST stores its images with rows and columns swapped, and so they are read"
_GZIP_MAGIC = b"\x1f\x8b"


def find_idx_files(names: list[str]) -> dict[str, str]:
    """Tell which of a folder's file names are IDX files, by what they hold: `train-images`, …, `t10k-labels`.

    Where a file lies there compressed and unpacked, the unpacked one is taken.
    """
    found = {}
    for name in sorted(names, key=len, reverse=True):
        if match := _FILE.fullmatch(name):
            found[f"{match[2].replace('test', 't10k')}-{match[3]}"] = name
    return found


def open_idx(
    folder: Path, names: list[str], work_dir: Path, resources: ExitStack, most_bytes: int | None = None
) -> Parts:
    """Open the IDX files among `names` in `folder`; compressed ones are unpacked into `work_dir`, `most_bytes` of them
    at most."""
    files = find_idx_files(names)
    notes = _check_one_set(folder, names)
    opener = _Opener(folder, files, work_dir, resources, most_bytes)
    train_images, train_labels = opener.images_and_labels("train")
    classes = train_labels.highest() + 1
    test = None
    if "t10k-images" in files or "t10k-labels" in files:
        test_images, test_labels = opener.images_and_labels("t10k")
        check_same_form(train_images, test_images)
        classes = max(classes, test_labels.highest() + 1)
        test = ArraySplit([(test_images, test_labels)])
    train = ArraySplit([(train_images, train_labels)])
    return Parts("idx", train, test, train_images.shape, classes, storage_bytes=opener.storage_bytes, notes=notes)


def _check_one_set(folder: Path, names: list[str]) -> tuple[str, ...]:
    """What a person should know of the files. Raises DataError where they are of several sets."""
    matches = [match for name in names if (match := _FILE.fullmatch(name))]
    sets = sorted({(match[1] or "").rstrip("-") for match in matches})
    if len(sets) > 1:
        raise DataError(
            str(folder),
            f"holds several sets ({', '.join(name or 'one without a name' for name in sets)}); give each a folder of "
            "its own",
        )
    notes = files_left_out(names, [match[0] for match in matches])
    return (*notes, _ON_ITS_SIDE) if sets[0] else notes


class _Opener:
    """Opens the files of one folder and sums what unpacking them takes."""

    def __init__(
        self, folder: Path, files: dict[str, str], work_dir: Path, resources: ExitStack, most_bytes: int | None
    ) -> None:
        self._folder = folder
        self._files = files
        self._work_dir = work_dir
        self._resources = resources
        self._most_bytes = most_bytes
        self.storage_bytes = 0

    def images_and_labels(self, part: str) -> tuple[SampleArray, Labels]:
        file, offset, extents = self._open(f"{part}-images", dimensions=3)
        count, height, width = extents
        images = SampleArray(file, offset, height * width, count, (1, height, width))
        file, offset, extents = self._open(f"{part}-labels", dimensions=1)
        labels = Labels(file, offset, 1, extents[0])
        check_counts(images, labels)
        return images, labels

    def _open(self, role: str, dimensions: int) -> tuple[RecordFile, int, tuple[int, ...]]:
        """Return the unpacked file, where its records begin, and the extents its header states."""
        if role not in self._files:
            raise DataError(str(self._folder), f"has IDX files, but no {role}-idx{dimensions}-ubyte or its .gz")
        path = self._folder / self._files[role]
        file = RecordFile(path, self._resources)
        start = 4 + 4 * dimensions
        compressed = file.size >= 2 and file.read(0, 2) == _GZIP_MAGIC
        head = _unpacked_head(path, start) if compressed else file.read(0, min(start, file.size))
        extents = _parse_header(path, head, dimensions)
        size = start + math.prod(extents)
        if compressed:
            check_room(str(path), self.storage_bytes + size, self._most_bytes)
            target = unpack(file, role, size, partial(gzip.GzipFile, path), self._work_dir)
            file = RecordFile(target, self._resources, str(path))
            self.storage_bytes += size
        elif file.size != size:
            raise DataError(str(path), f"has {file.size} bytes; its header promises {extents[0]} records, so {size}")
        return file, start, extents


def _unpacked_head(path: Path, count: int) -> bytes:
    try:
        with gzip.open(path) as stream:
            return stream.read(count)
    except CORRUPT as error:
        raise DataError(str(path), f"is damaged ({error})") from None


def _parse_header(path: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    """Return the extents. The magic number is two zero bytes, 8 for unsigned bytes, and the number of extents."""
    magic = struct.pack(">BBBB", 0, 0, 8, dimensions)
    if head[:4] != magic:
        raise DataError(str(path), f"begins with {head[:4].hex(' ')}; an IDX file of this kind with {magic.hex(' ')}")
    if len(head) < 4 + 4 * dimensions:
        raise DataError(str(path), "ends inside its header")
    extents = struct.unpack(f">{dimensions}I", head[4:])
    check_samples(str(path), extents[0])
    if dimensions == 3:
        check_shape(str(path), (1, extents[1], extents[2]))
    return extents
