"""What a data set is: counts by class, which samples are held out, and what it is known again by."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.data.split import Dataset, Parts, SourceSplit
from planner.data.stratify import Draw
from planner.errors import DataError
from planner.limits import MAX_LIST_LENGTH
from planner.schema.data import DataDescription, DataPart, PartName, listed

_SAMPLED = 64
"""Samples of each part whose content is looked at."""
_LABELS_PER_CHUNK = 8192
_NAMED = 5


@dataclass(frozen=True)
class Described:
    """A data set and the draw of what is held out."""

    description: DataDescription
    """In words and numbers."""
    draw: Draw
    """Says of each training sample to which part it goes."""


def describe(data: Dataset, seed: int) -> Described:
    """Read all labels and a few samples of `data`; `seed` draws what is held out. Raises DataError, StorageError."""
    info, pixels = data.info, data.parts.pixels
    digest = hashlib.sha256(data.parts.identity.encode())
    strata = info.classes if info.labels.kind == "class" else 1
    counts: dict[PartName, array[int]] = {}
    splits: dict[PartName, SourceSplit | None] = {
        "train": data.train,
        "validation": data.validation,
        "test": data.test,
    }
    for name, split in splits.items():
        digest.update(f" {name} {_form(data.parts) if not data.parts.identity else ''} ".encode())
        counts[name] = _count(split, strata, digest)
    draw = Draw(counts["train"], data.test is None, data.validation is None, seed)
    if data.test is None:
        counts["test"] = draw.test
    if data.validation is None:
        counts["validation"] = draw.validation
    if not sum(counts["test"]):
        raise DataError(
            info.name,
            "has no test part, and no class has two samples, of which one could be held out to test on; add a test "
            "part, or samples",
        )
    counts["train"] = array("Q", _without(counts["train"], draw.test, draw.validation))
    held_out: tuple[PartName, ...] = tuple(name for name in ("validation", "test") if splits[name] is None)
    return Described(
        DataDescription(
            schema="data/1",
            name=info.name,
            layout=data.parts.layout,
            input=data.parts.shape,
            classes=info.classes,
            class_names=info.label_names if len(info.label_names) <= MAX_LIST_LENGTH else (),
            parts=tuple(
                DataPart(name, sum(each), listed(tuple(each)) if strata > 1 else ()) for name, each in counts.items()
            ),
            held_out=held_out,
            seed=seed,
            digest=digest.hexdigest(),
            content=_content(data),
            notes=(
                *data.parts.notes,
                *(_class_notes(counts, info.label_names) if strata > 1 else ()),
                *(() if pixels is None else _pixel_notes(pixels.by_class(info.classes), info.label_names)),
            ),
            labels=info.labels.kind,
            label_bytes=data.train.label_bytes,
            input_dtype=info.dtype,
            class_pixels=() if pixels is None else pixels.by_class(info.classes),
            validation=data.parts.validation_name,
            ignored_pixels=0 if pixels is None else pixels.ignored_pixels,
        ),
        draw,
    )


def _form(parts: Parts) -> str:
    """What tells samples of one form from others that hold the same bytes."""
    shape = "x".join(map(str, parts.shape))
    return shape if parts.dtype == "uint8" else f"{shape} {parts.dtype}"


def _count(split: SourceSplit | None, classes: int, digest: hashlib._Hash) -> array[int]:
    """Samples of each class; the labels go into `digest`."""
    counts = array("Q", bytes(8 * classes))
    chunk = array("I")
    for label in () if split is None else split.labels():
        counts[label] += 1
        chunk.append(label)
        if len(chunk) == _LABELS_PER_CHUNK:
            digest.update(chunk.tobytes())
            del chunk[:]
    digest.update(chunk.tobytes())
    for piece in () if split is None else split.label_pieces():
        digest.update(piece)
    return counts


def _without(counts: Sequence[int], *taken: Sequence[int]) -> Iterator[int]:
    for count, *less in zip(counts, *taken, strict=True):
        yield count - sum(less)


def _content(data: Dataset) -> str:
    digest = hashlib.sha256()
    for split in (data.train, data.validation, data.test):
        count = 0 if split is None else split.samples
        for number in range(min(count, _SAMPLED)):
            assert split is not None
            digest.update(split.stored(number * count // min(count, _SAMPLED)))
    return digest.hexdigest()


def _class_notes(counts: dict[PartName, array[int]], names: tuple[str, ...]) -> Iterator[str]:
    """What a person should know of classes that have no sample, or none in one part."""
    classes = range(len(counts["train"]))
    seen = [label for label in classes if any(each[label] for each in counts.values())]
    empty = sorted(set(classes) - set(seen))
    if empty:
        yield (
            f"no sample has the label {_few(empty, names)}: labels run from {seen[0]} to {seen[-1]}, "
            f"so the network tells {len(classes)} classes apart of which {len(empty)} "
            f"{'is' if len(empty) == 1 else 'are'} empty"
        )
    for name, purpose in (("train", "to train on"), ("test", "to test on")):
        part: PartName = "train" if name == "train" else "test"
        lacking = [label for label in seen if not counts[part][label]]
        if lacking:
            yield f"{'class' if len(lacking) == 1 else 'classes'} {_few(lacking, names)}: no sample {purpose}"


def _pixel_notes(pixels: Sequence[int], names: tuple[str, ...]) -> Iterator[str]:
    """What a person should know of classes that no mask has."""
    empty = [label for label, count in enumerate(pixels) if not count]
    if empty:
        yield f"no pixel is of class {_few(empty, names)}: the network tells {len(pixels)} classes apart"


def _few(labels: list[int], names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(names[label]) if names else str(label) for label in labels[:_NAMED])
    return shown + (f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else "")
