"""A data set in words and as a table: what was found, how it is parted, and every oddity."""

from __future__ import annotations

from collections.abc import Iterator

from planner.report.text import DASH, clean, columns, fields, note
from planner.schema.data import DataDescription, PartName, some
from planner.units import format_bytes

_MOST_ROWS = 100
"""Classes that a table shows."""

_LAYOUTS = {
    "folder": "a folder of images per class",
    "masks": "folders of images with masks",
    "npz": "arrays in an .npz file",
    "npy": "a folder of .npy arrays",
    "csv": "a table of numbers (.csv)",
    "idx": "IDX files",
    "cifar": "CIFAR-10 binary batches",
}


def data_text(data: DataDescription) -> str:
    """In some lines: counts, classes, and what a person should know."""
    shape = "×".join(map(str, data.input))
    total = sum(part.samples for part in data.parts)
    named = f" ({clean(some(list(data.class_names)))})" if data.class_names else ""
    labelled = f"in {data.classes} classes" if data.labels == "class" else f"with {_labels(data)}"
    lines = [
        f"{clean(data.name)}: {total:,} {data.called} of {shape} {labelled}{named}",
        f"  {_parts(data)}",
        *(f"  note: {clean(text)}" for text in data.notes),
    ]
    return "\n".join(lines)


def data_table(data: DataDescription, file_bytes: int, decode: tuple[str, int]) -> str:
    """All that is known; `file_bytes` is what it takes prepared, `decode` the costliest file and its bytes."""
    path, needed = decode
    pairs = [
        ("data", clean(data.name)),
        ("layout", _LAYOUTS.get(data.layout, data.layout)),
        (
            data.called,
            f"{sum(part.samples for part in data.parts):,} of {'×'.join(map(str, data.input))} as trained on",
        ),
        *([("labels", _labels(data))] if data.labels != "class" else []),
        ("parts", _parts(data)),
        ("prepared", f"{format_bytes(file_bytes)} in a run's folder"),
        *([("decoding", f"at most about {format_bytes(needed)} ({clean(path)})")] if needed else []),
        *(("note", clean(text)) for text in data.notes),
        ("known by", f"{data.digest[:12]}… (names, sizes, labels), {data.content[:12]}… (samples)"),
    ]
    return "\n\n".join((fields(pairs), *_classes(data)))


def _labels(data: DataDescription) -> str:
    """What a sample is labelled with, where that is no class."""
    match data.labels:
        case "numbers":
            return "1 number a sample" if data.classes == 1 else f"{data.classes} numbers a sample"
        case "flags":
            return f"{data.classes} flags of 0 or 1 a sample"
        case "mask":
            return f"masks of {data.classes} classes"
    return "no labels"


def _parts(data: DataDescription) -> str:
    meant = {"train": "to train on", "validation": "to choose an exit by", "test": "to test on"}
    return ", ".join(
        f"{part.samples:,} {meant[part.name]}{_origin(data, part.name)}" for part in data.parts if part.samples
    )


def _origin(data: DataDescription, part: PartName) -> str:
    """Where a part comes from, if it is none of the set's own."""
    if part == "validation" and data.validation is not None:
        return f" (from {clean(data.validation)})"
    return " (held out of the training part)" if part in data.held_out else ""


def _classes(data: DataDescription) -> Iterator[str]:
    """A table of classes, where there are some, and how many more there are."""
    if data.labels == "class":
        rows = list(_rows(data))
        yield columns(("label", "class", "train", "validation", "test"), rows[:_MOST_ROWS], "><>>>")
    elif data.class_pixels:
        rows = list(_pixel_rows(data))
        yield columns(("label", "class", "pixels", "share"), rows[:_MOST_ROWS], "><>>")
    else:
        return
    if len(rows) > _MOST_ROWS:
        yield note(f"and {len(rows) - _MOST_ROWS} classes more")


def _name(data: DataDescription, label: int) -> str:
    return clean(data.class_names[label], 40) if label < len(data.class_names) else DASH


def _pixel_rows(data: DataDescription) -> Iterator[tuple[str, ...]]:
    """How much of all masks is of each class, and of none: the share is of those that are of a class."""
    total = sum(data.class_pixels)
    for label, count in enumerate(data.class_pixels):
        yield str(label), _name(data, label), f"{count:,}", f"{count / total:.1%}" if total else DASH
    if data.ignored_pixels:
        yield DASH, "ignored", f"{data.ignored_pixels:,}", DASH


def _rows(data: DataDescription) -> Iterator[tuple[str, ...]]:
    for label in range(data.classes):
        counts = (f"{part.class_samples[label]:,}" if part.class_samples else DASH for part in data.parts)
        yield (str(label), _name(data, label), *counts)
