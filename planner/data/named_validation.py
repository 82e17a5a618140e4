"""A validation part that lies apart from the data set that is trained on, and is named beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from planner.data.split import Parts, SourceSplit
from planner.errors import DataError, InputError
from planner.schema.data import some
from planner.schema.inputs import show_input
from planner.tasks.base import DataLabels, Label, class_label, class_of


def check_named(name: str, validation: str) -> None:
    """Raise InputError where the validation part is the data itself, or one of them lies within the other."""
    data, other = (Path(each).resolve() for each in (name, validation))
    if not (data.exists() and other.exists()):
        return  # a data set's name, or what is told when it is opened
    if data == other:
        raise InputError(f"--validation: {validation} is the data itself; name other samples, or leave it out")
    if other.is_relative_to(data):
        raise InputError(
            f"--validation: {validation} lies within the data, {name}, and is read as a part of it; name the folder of "
            "the training part as data, or leave --validation out"
        )
    if data.is_relative_to(other):
        raise InputError(f"--validation: {validation} holds the data, {name}; name the validation part alone")


def with_validation(parts: Parts, name: str, other: Parts, validation: str) -> Parts:
    """The data set `parts`, called `name`, with all samples of `other` as its validation part.

    Raises InputError where one of them has other parts than that, DataError where their samples or labels differ.
    """
    if parts.validation is not None:
        raise InputError(f"--validation: {name} has a validation part of its own; leave --validation out")
    if other.test is not None or other.validation is not None:
        raise InputError(
            f"--validation: {validation} has parts of its own; name one part alone: a folder of its samples, or a file "
            "of them"
        )
    if (other.shape, other.dtype) != (parts.shape, parts.dtype):
        is_now, right = (show_input(each.shape, each.dtype) for each in (other, parts))
        raise DataError(validation, f"its samples are {is_now}, those of {name} {right}")
    if (other.labels, other.label_extents) != (parts.labels, parts.label_extents) or (
        parts.labels in ("numbers", "flags") and other.classes != parts.classes
    ):
        has, right = (DataLabels(each.labels, each.classes, each.label_extents).words for each in (other, parts))
        raise DataError(validation, f"its samples are labelled with {has}, those of {name} with {right}")
    pixels = None if parts.pixels is None or other.pixels is None else parts.pixels + other.pixels
    return replace(
        parts,
        validation=_labelled_alike(parts, name, other, validation),
        validation_name=validation,
        classes=parts.classes if parts.label_names else max(parts.classes, other.classes),
        storage_bytes=parts.storage_bytes + other.storage_bytes,
        identity=parts.identity + other.identity,
        notes=(*parts.notes, *(f"{validation}: {note}" for note in other.notes)),
        decode_bytes=max(parts.decode_bytes, other.decode_bytes, key=lambda cost: cost[1]),
        pixels=pixels,
    )


def _labelled_alike(parts: Parts, name: str, other: Parts, validation: str) -> SourceSplit:
    """Its samples, classes numbered as those of the training part: by name, where both have names."""
    ours, theirs = parts.label_names, other.label_names
    if ours and not theirs and other.classes > len(ours):
        raise DataError(validation, f"has the class {other.classes - 1}; {name} has the classes 0 to {len(ours) - 1}")
    if not ours or not theirs or ours == theirs:
        return other.train
    if unknown := [each for each in theirs if each not in ours]:
        raise DataError(validation, f"has the classes {some(unknown)}, which {name} has not")
    if parts.labels != "class":
        raise DataError(validation, f"its classes stand in another order than those of {name}")
    return RelabelledSplit(other.train, [ours.index(each) for each in theirs])


class RelabelledSplit:
    """A part of a data set whose classes go by other numbers."""

    def __init__(self, split: SourceSplit, numbers: Sequence[int]) -> None:
        """`numbers` are those of its classes, in order."""
        self._split = split
        self._numbers = numbers
        self.samples = split.samples
        self.record_bytes = split.record_bytes
        self.label_bytes = split.label_bytes

    def read_into(self, index: int, image: memoryview) -> Label:
        """Fill `image` with a sample and return its label; raises as the split does."""
        return class_label(self._numbers[class_of(self._split.read_into(index, image))])

    def labels(self) -> Iterator[int]:
        """The class of every sample in order."""
        return (self._numbers[label] for label in self._split.labels())

    def label_pieces(self) -> Iterator[bytes]:
        """Nothing: they are classes."""
        return iter(())

    def stored(self, index: int) -> bytes:
        """Bytes of a sample as it is stored."""
        return self._split.stored(index)

    def close(self) -> None:
        self._split.close()
