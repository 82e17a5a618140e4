"""An .npz file: a zip whose members `images`, `labels`, `test_images`, `test_labels` are .npy arrays.

Keras' names (`x_train`, `y_train`, …) and MedMNIST's (`train_images`, `val_images`, …) are read as well, and the names
of classes from an array of text, `class_names`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

from planner.data.array_archive import CORRUPT_ZIP, ArrayArchive, ArrayFolder, BoundedFile
from planner.data.array_form import UNKNOWN, WantedSamples, array_form
from planner.data.array_labels import ArrayLabels, NoLabels, label_extents, label_kind, label_type
from planner.data.arrays import ArraySplit, Labels, SampleArray, SampleLabels, check_counts, check_same_form
from planner.data.mask_pixels import PixelCounter
from planner.data.split import Parts
from planner.errors import DataError
from planner.limits import MAX_CLASSES
from planner.schema.common import check_class_names
from planner.tasks.base import DataLabels
from planner.tasks.kinds import CLASSIFICATION, AnyTask, ignored_by
from planner.units import MIB

ZIP_MAGIC = b"PK\x03\x04"

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
        with BoundedFile(path) as file, ZipFile(file) as archive:
            _check_arrays(path, archive.namelist())
            return _open_parts(_Opener(ArrayArchive(path, archive, work_dir, resources, most_bytes), wanted, task))
    except CORRUPT_ZIP as error:
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
    archive = ArrayArchive(called or path, ArrayFolder(path), work_dir, resources, None)
    return replace(_open_parts(_Opener(archive, wanted, task)), layout="npy")


def has_arrays(names: list[str]) -> bool:
    """Whether files of these names are arrays of a data set."""
    return any(name.endswith(".npy") and _meaning(name.removesuffix(".npy")) is not None for name in names)


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
        storage_bytes=opener.archive.storage_bytes,
        validation=others.get("validation"),
        notes=(*notes, *train[0].notes),
        labels=found.kind,
        label_extents=found.extents,
        dtype=train[0].dtype,
        pixels=opener.pixels.found() if found.kind == "mask" else None,
    )


def _check_arrays(path: Path, names: list[str]) -> None:
    """Raise DataError for an archive of other files, pictures for instance."""
    if names and not any(name.endswith(".npy") for name in names):
        shown = ", ".join(name[:40] for name in names[:3]) + (", …" if names[3:] else "")
        raise DataError(str(path), f"is a zip of files that are no arrays ({shown}); unpack it, and give the folder")


class _Opener:
    """Opens the arrays of one archive by what their names mean."""

    def __init__(self, archive: ArrayArchive, wanted: WantedSamples, task: AnyTask | None) -> None:
        self.archive = archive
        self._wanted = wanted
        self._task = task
        self._arrays = self._by_meaning()
        self.pixels = PixelCounter(ignored_by(task))
        """Counts the pixels of masks."""
        self._names = next((name for name in _NAMES if archive.holds_text(name)), None)

    def _by_meaning(self) -> dict[tuple[str, str], str]:
        """Names of the arrays, by part and whether they hold images or labels."""
        found: dict[tuple[str, str], str] = {}
        for name in self.archive.names():
            meaning = _meaning(name)
            if meaning in found:
                raise DataError(str(self.archive.path), f"has two arrays for the same: {found[meaning]} and {name}")
            if meaning is not None:
                found[meaning] = name
        return found

    def left_out(self) -> Iterator[str]:
        """What is said of members that are not read."""
        read = {f"{name}.npy" for name in (*self._arrays.values(), self._names)}
        names = [name.removesuffix(".npy")[:40] for name in self.archive.files if name not in read]
        if names:
            shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")
            yield f"left out: {len(names)} {'array' if len(names) == 1 else 'arrays'} ({shown})"

    def has(self, part: str) -> bool:
        return (part, "images") in self._arrays or (part, "labels") in self._arrays

    def images_and_labels(self, part: str) -> tuple[SampleArray, SampleLabels]:
        name = self._name(part, "images")
        header = self.archive.header(name)
        form = array_form(self.archive.where(name), header, self._wanted)
        file, offset = self.archive.locate(name, header, form.number.item_bytes)
        images = SampleArray.of(form, file, offset, header.shape[0], self._wanted.tokens)

        labels = self._labels(part, images)
        check_counts(images, labels)
        return images, labels

    def _labels(self, part: str, images: SampleArray) -> SampleLabels:
        """What the samples of a part are labelled with."""
        if self._task is not None and self._task.labels_from == "none":
            return NoLabels(images.file, images.count)
        name = self._name(part, "labels")
        where, header = self.archive.where(name), self.archive.header(name)
        kind = label_kind(header) if self._task is None else self._task.labels_from
        if kind == "class":
            item_bytes, signed, big_endian = label_type(where, header)
            file, offset = self.archive.locate(name, header, item_bytes)
            return Labels(file, offset, item_bytes, header.shape[0], item_bytes, signed, big_endian)
        extents = label_extents(where, header, kind)
        file, offset = self.archive.locate(name, header, int(header.descr[-1]))
        return ArrayLabels(file, offset, header.shape[0], extents, header.descr, kind)

    def look(self, labels: SampleLabels) -> DataLabels:
        """Read all labels once: what they are. Raises DataError naming the first that is wrong."""
        match labels:
            case Labels():
                return DataLabels("class", labels.highest() + 1)
            case ArrayLabels():
                return labels.found(self.pixels)
        return DataLabels("none", 1)

    def class_names(self, classes: int) -> tuple[str, ...]:
        """What the classes are called, where an array of text says so. Raises DataError where it cannot be right."""
        if self._names is None:
            return ()
        where = self.archive.where(self._names)
        try:
            names = self.archive.texts(self._names, _MOST_NAMES_BYTES)
            check_class_names(names, MAX_CLASSES)
        except ValueError as error:
            raise DataError(where, f"names no classes ({error})") from None
        if len(names) < classes:
            raise DataError(where, f"has {len(names)} names for {classes} classes: labels run to {classes - 1}")
        return names

    def _name(self, part: str, role: str) -> str:
        """What an array is called. Raises DataError where there is none."""
        name = self._arrays.get((part, role))
        if name is None:
            name = role if part == "train" else f"{part}_{role}"
            found = ", ".join(sorted(self.archive.files)[:8])[:200]
            raise DataError(
                self.archive.where(name),
                f"this array is missing; the file holds {found or 'none'} (also read are Keras' x_train, y_train, "
                "x_test, y_test and MedMNIST's train_images, train_labels, val_images, …)",
            )
        return name


def _meaning(name: str) -> tuple[str, str] | None:
    """Part and role of an array: `images`, `y_train`, `val_images`; none where its name says neither."""
    words = name.lower().split("_")
    roles = [_ROLES[word] for word in words if word in _ROLES]
    parts = [_PARTS[word] for word in words if word in _PARTS]
    if len(roles) != 1 or len(parts) > 1 or len(words) != len(roles) + len(parts):
        return None
    return parts[0] if parts else "train", roles[0]
