"""An .npz file: a zip whose members `images`, `labels`, `test_images`, `test_labels` are .npy arrays.

Keras' names (`x_train`, `y_train`, …) and MedMNIST's (`train_images`, `val_images`, …) are read as well, and the names
of classes from an array of text, `class_names`.

Stored members are read where they lie, deflated ones are unpacked once. No numpy, and nothing is ever unpickled.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from planner import limits
from planner.data.array_form import UNKNOWN, WantedSamples, array_form
from planner.data.array_labels import ArrayLabels, NoLabels
from planner.data.arrays import (
    ArraySplit,
    Labels,
    RecordFile,
    SampleArray,
    SampleLabels,
    check_counts,
    check_same_form,
)
from planner.data.npy import ArrayHeader, is_text, read_header, shown, texts
from planner.data.split import Parts, check_samples
from planner.data.unpack import CHUNK_BYTES, CORRUPT, check_room, unpack
from planner.errors import DataError
from planner.limits import MAX_CLASSES
from planner.schema.common import check_class_names
from planner.tasks.base import IGNORED, DataLabels, LabelKind
from planner.tasks.kinds import CLASSIFICATION, AnyTask
from planner.units import MIB

ZIP_MAGIC = b"PK\x03\x04"

_ENCRYPTED = 0x1
_LOCAL_HEADER_BYTES = 30
_SHOWN = 8
_NAMES = ("class_names", "label_names", "classes")
_MOST_NAMES_BYTES = 16 * MIB

_ROLES = {
    **dict.fromkeys(("images", "image", "x"), "images"),
    **dict.fromkeys(("labels", "label", "y", "targets"), "labels"),
}
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    "test": "test",
}

_NUMBER = re.compile(r"[<>|]?(f[248]|[iu][1248]|b1)")
_LABEL_EXTENTS: Mapping[LabelKind, tuple[int, ...]] = {"numbers": (1, 2), "flags": (1, 2), "mask": (3,)}
_LABEL_SHAPES: Mapping[LabelKind, str] = {
    "numbers": "a regression's labels are N, or N×(numbers of a sample)",
    "flags": "labels of which any may hold are N×(labels), of 0 and 1",
    "mask": "masks are N×H×W: the number of a class for every pixel",
}

_INTEGER = re.compile(r"([<>|]?)([iu])([1248])")
_CORRUPT_ZIP = (*CORRUPT, NotImplementedError, UnicodeDecodeError, struct.error, OverflowError)


def open_npz(
    path: Path,
    work_dir: Path,
    resources: ExitStack,
    wanted: WantedSamples = UNKNOWN,
    most_bytes: int | None = None,
    task: AnyTask | None = CLASSIFICATION,
) -> Parts:
    """Open the arrays of the zip at `path`; deflated ones are unpacked into `work_dir`, `most_bytes` of them at most.

    `wanted` is what the model takes, as far as it is known; `task` what samples are labelled with: none leaves that to
    the array of labels.
    """
    try:
        with _Bounded(path) as file, ZipFile(file) as archive:
            _check_arrays(path, archive.namelist())
            return _open_parts(_Opener(path, archive, work_dir, resources, wanted, most_bytes, task))
    except _CORRUPT_ZIP as error:
        raise DataError(str(path), f"is damaged ({error})") from None


def open_npy_folder(
    path: Path,
    work_dir: Path,
    resources: ExitStack,
    wanted: WantedSamples = UNKNOWN,
    task: AnyTask | None = CLASSIFICATION,
    called: Path | None = None,
) -> Parts:
    """Open the .npy files of the folder at `path`, named as the arrays of an .npz file are; they are read where they
    lie. `called` is what errors call it.
    """
    opener = _Opener(called or path, ArrayFolder(path), work_dir, resources, wanted, None, task)
    return replace(_open_parts(opener), layout="npy")


def has_arrays(names: list[str]) -> bool:
    """Whether files of these names are arrays of a data set."""
    return any(name.endswith(".npy") and _meaning(name.removesuffix(".npy")) is not None for name in names)


class ArrayFolder:
    """A folder of .npy files, as the archive that an .npz file is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def infolist(self) -> list[ZipInfo]:
        """Its files."""
        found = []
        for file in sorted(self.path.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                info = ZipInfo(file.name)
                info.file_size = file.stat().st_size
                found.append(info)
        return found

    def open(self, info: ZipInfo) -> IO[bytes]:
        """A file, from its beginning."""
        try:
            return (self.path / info.filename).open("rb")
        except OSError as error:
            raise DataError(str(self.path / info.filename), f"cannot be opened ({error.strerror})") from None


def _open_parts(opener: _Opener) -> Parts:
    notes = list(opener.left_out())
    train = opener.images_and_labels("train")
    found = opener.look(train[1])
    classes = found.classes
    others = {}
    for part in ("validation", "test"):
        if opener.has(part):
            images, labels = opener.images_and_labels(part)
            check_same_form(train[0], images)
            there = opener.look(labels)
            if (there.kind, there.extents) != (found.kind, found.extents) or (
                found.kind in ("numbers", "flags") and there.classes != found.classes
            ):
                raise DataError(
                    labels.file.name, f"samples are labelled with {there.words}, those to train on with {found.words}"
                )
            classes = max(classes, there.classes)
            others[part] = ArraySplit([(images, labels)])
    if "test" not in others and "validation" in others:
        others["test"] = others.pop("validation")
        notes.append("there is no test part: the validation part is tested on")
    names = opener.class_names(classes) if found.kind in ("class", "flags", "mask") else ()
    return Parts(
        "npz",
        ArraySplit([train]),
        others.get("test"),
        train[0].shape,
        len(names) or classes,
        names,
        storage_bytes=opener.storage_bytes,
        validation=others.get("validation"),
        notes=(*notes, *train[0].notes),
        labels=found.kind,
        label_extents=found.extents,
        dtype=train[0].dtype,
    )


def _check_arrays(path: Path, names: list[str]) -> None:
    """Raise DataError for an archive of other files, pictures for instance."""
    if names and not any(name.endswith(".npy") for name in names):
        shown = ", ".join(name[:40] for name in names[:3]) + (", …" if names[3:] else "")
        raise DataError(str(path), f"is a zip of files that are no arrays ({shown}); unpack it, and give the folder")


class _Bounded(io.FileIO):
    """A file that gives no long piece. `ZipFile` reads its whole list of members in one, and must not here."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > CHUNK_BYTES:
            raise BadZipFile(f"it wants {size} bytes for its list of members")
        return super().read(-1 if size is None else size)


class _Opener:
    """Opens members of one file and sums what unpacking them takes."""

    def __init__(
        self,
        path: Path,
        archive: ZipFile | ArrayFolder,
        work_dir: Path,
        resources: ExitStack,
        wanted: WantedSamples,
        most_bytes: int | None,
        task: AnyTask | None,
    ) -> None:
        self._path = path
        self._archive = archive
        self._members = {info.filename: info for info in archive.infolist()}
        self._work_dir = work_dir
        self._resources = resources
        self._wanted = wanted
        self._most_bytes = most_bytes
        self._task = task
        self._arrays = self._by_meaning()
        self._names = next((name for name in _NAMES if self._is_text(name)), None)
        self.storage_bytes = 0

    def _by_meaning(self) -> dict[tuple[str, str], str]:
        """Names of the arrays, by part and whether they hold images or labels."""
        found: dict[tuple[str, str], str] = {}
        for member in self._members:
            name = member.removesuffix(".npy")
            meaning = _meaning(name) if member.endswith(".npy") else None
            if meaning in found:
                raise DataError(str(self._path), f"has two arrays for the same: {found[meaning]} and {name}")
            if meaning is not None:
                found[meaning] = name
        return found

    def left_out(self) -> Iterator[str]:
        """What is said of members that are not read."""
        read = {f"{name}.npy" for name in (*self._arrays.values(), self._names)}
        names = [name.removesuffix(".npy")[:40] for name in self._members if name not in read]
        if names:
            shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")
            yield f"left out: {len(names)} {'array' if len(names) == 1 else 'arrays'} ({shown})"

    def has(self, part: str) -> bool:
        return (part, "images") in self._arrays or (part, "labels") in self._arrays

    def images_and_labels(self, part: str) -> tuple[SampleArray, SampleLabels]:
        where, info = self._member(part, "images")
        header = self._header(where, info)
        form = array_form(where, header, self._wanted)
        file, offset = self._locate(where, info, header, form.number.item_bytes)
        images = SampleArray.of(form, file, offset, header.shape[0], self._wanted.tokens)

        labels = self._labels(part, images)
        check_counts(images, labels)
        return images, labels

    def _labels(self, part: str, images: SampleArray) -> SampleLabels:
        """What the samples of a part are labelled with."""
        if self._task is not None and self._task.labels_from == "none":
            return NoLabels(images.file, images.count)
        where, info = self._member(part, "labels")
        header = self._header(where, info)
        kind = _label_kind(header) if self._task is None else self._task.labels_from
        if kind == "class":
            item_bytes, signed, big_endian = _label_type(where, header)
            file, offset = self._locate(where, info, header, item_bytes)
            return Labels(file, offset, item_bytes, header.shape[0], item_bytes, signed, big_endian)
        if _NUMBER.fullmatch(header.descr) is None:
            raise DataError(where, f"has elements of type {header.descr[:20]!r}; labels are numbers")
        if len(header.shape) not in _LABEL_EXTENTS[kind]:
            raise DataError(where, f"has the shape {shown(header.shape)}; {_LABEL_SHAPES[kind]}")
        check_samples(where, header.shape[0])
        if math.prod(header.shape[1:]) > limits.MAX_ACTIVATION_NUMEL:
            raise DataError(where, f"has the shape {shown(header.shape)}; that is too much for a label")
        file, offset = self._locate(where, info, header, int(header.descr[-1]))
        extents = header.shape[1:] if kind == "mask" else (math.prod(header.shape[1:]),)
        ignored = getattr(self._task, "ignore_index", IGNORED)
        return ArrayLabels(file, offset, header.shape[0], extents, header.descr, kind, ignored)

    def look(self, labels: SampleLabels) -> DataLabels:
        """Read all labels once: what they are. Raises DataError naming the first that is wrong."""
        match labels:
            case Labels():
                return DataLabels("class", labels.highest() + 1)
            case ArrayLabels():
                return labels.found()
        return DataLabels("none", 1)

    def class_names(self, classes: int) -> tuple[str, ...]:
        """What the classes are called, where an array of text says so. Raises DataError where it cannot be right."""
        if self._names is None:
            return ()
        where, info = self._checked(self._names)
        header = self._header(where, info)
        if info.file_size > _MOST_NAMES_BYTES:
            raise DataError(where, f"has {info.file_size} bytes; names of classes have at most {_MOST_NAMES_BYTES}")
        try:
            with self._stream(info) as stream:
                stream.read(header.start)
                names = texts(header, stream.read(info.file_size - header.start))
            check_class_names(names, MAX_CLASSES)
        except _CORRUPT_ZIP as error:
            raise DataError(where, f"is damaged ({error})") from None
        except ValueError as error:
            raise DataError(where, f"names no classes ({error})") from None
        if len(names) < classes:
            raise DataError(where, f"has {len(names)} names for {classes} classes: labels run to {classes - 1}")
        return names

    def _is_text(self, name: str) -> bool:
        """Whether there is such an array, of text; what else may be called so is left out."""
        if f"{name}.npy" not in self._members:
            return False
        try:
            return is_text(self._header(*self._checked(name)))
        except DataError:
            return False

    def _member(self, part: str, role: str) -> tuple[str, ZipInfo]:
        """Return how messages call the member, and its entry."""
        name = self._arrays.get((part, role))
        if name is None:
            name = role if part == "train" else f"{part}_{role}"
            found = ", ".join(sorted(self._members)[:8])[:200]
            raise DataError(
                f"{self._path}: {name}",
                f"this array is missing; the file holds {found or 'none'} (also read are Keras' x_train, y_train, "
                "x_test, y_test and MedMNIST's train_images, train_labels, val_images, …)",
            )
        return self._checked(name)

    def _checked(self, name: str) -> tuple[str, ZipInfo]:
        """The same of an array that is there. Raises DataError where it cannot be opened."""
        where, info = f"{self._path}: {name}", self._members[f"{name}.npy"]
        if info.flag_bits & _ENCRYPTED:
            raise DataError(where, "is encrypted")
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise DataError(where, f"compressed by method {info.compress_type}; only stored and deflated are read")
        return where, info

    def _stream(self, info: ZipInfo) -> IO[bytes]:
        return self._archive.open(info)

    def _header(self, where: str, info: ZipInfo) -> ArrayHeader:
        try:
            with self._stream(info) as stream:
                return read_header(where, stream)
        except _CORRUPT_ZIP as error:
            raise DataError(where, f"is damaged ({error})") from None

    def _locate(self, where: str, info: ZipInfo, header: ArrayHeader, item_bytes: int) -> tuple[RecordFile, int]:
        """Return the file that holds the elements, and the byte of the first one."""
        size = header.start + math.prod(header.shape) * item_bytes
        if info.file_size != size:
            raise DataError(where, f"has {info.file_size} bytes; its header promises {shown(header.shape)}, so {size}")
        if isinstance(self._archive, ArrayFolder):
            return RecordFile(self._archive.path / info.filename, self._resources, where), header.start
        file = RecordFile(self._path, self._resources, where)
        if info.compress_type == ZIP_DEFLATED:
            check_room(where, self.storage_bytes + size, self._most_bytes)
            member = info.filename.removesuffix(".npy")
            target = unpack(file, member, size, lambda: self._stream(info), self._work_dir)
            self.storage_bytes += size
            return RecordFile(target, self._resources, where), header.start
        local = file.read(info.header_offset, _LOCAL_HEADER_BYTES)
        name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
        begin = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        if begin + size > file.size:
            raise DataError(where, f"ends at byte {file.size} of the file; it should end at {begin + size}")
        return file, begin + header.start


def _meaning(name: str) -> tuple[str, str] | None:
    """Part and role of an array: `images`, `y_train`, `val_images`; none where its name says neither."""
    words = name.lower().split("_")
    roles = [_ROLES[word] for word in words if word in _ROLES]
    parts = [_PARTS[word] for word in words if word in _PARTS]
    if len(roles) != 1 or len(parts) > 1 or len(words) != len(roles) + len(parts):
        return None
    return parts[0] if parts else "train", roles[0]


def _no_labels(descr: str) -> str:
    """What elements of a type are that labels cannot have, and what would be right."""
    if "f" in descr:
        return (
            f"fractional numbers of type {descr[:20]!r}; labels are integers: save labels.astype(int), or train with "
            "--task regression"
        )
    if "U" in descr or "S" in descr:
        return (
            f"text of type {descr[:20]!r}; labels are integers: save numpy.unique(labels, return_inverse=True)[1] as "
            "labels, and the unique names as class_names"
        )
    return f"elements of type {descr[:20]!r}; labels are integers"


def _label_kind(header: ArrayHeader) -> LabelKind:
    """What an array of labels holds, by its shape and the type of its numbers."""
    flat = math.prod(header.shape[1:]) == 1
    if len(header.shape) == 3 and not flat:
        return "mask"
    if "f" in header.descr:
        return "numbers"
    return "class" if flat else "flags"


def _label_type(where: str, header: ArrayHeader) -> tuple[int, bool, bool]:
    """Return the bytes of one label, whether it is signed, and whether it is big-endian."""
    match = _INTEGER.fullmatch(header.descr)
    if match is None:
        raise DataError(where, f"has {_no_labels(header.descr)}")
    if len(header.shape) != 1 and header.shape[1:] != (1,):
        rows = "; of one-hot rows save labels.argmax(1), or train with --task multilabel"
        one_hot = rows if len(header.shape) == 2 else ""
        raise DataError(where, f"has the shape {shown(header.shape)}; labels are one integer for each image{one_hot}")
    check_samples(where, header.shape[0])
    return int(match[3]), match[2] == "i", match[1] == ">"
