"""`data/1`: what a data set holds and how its samples are parted. Written beside prepared data. No torch here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Literal

from planner.limits import MAX_ACTIVATION_NUMEL, MAX_CLASSES, MAX_LIST_LENGTH, MAX_SAMPLES
from planner.schema.codec import added, content
from planner.schema.common import check_class_names, check_range
from planner.schema.inputs import InputDtype, sample_bytes, show_input
from planner.tasks.base import CLASS_BYTES, LabelKind

MAX_LABEL_BYTES = 8 * MAX_ACTIVATION_NUMEL
"""Most bytes of a label."""

PartName = Literal["train", "validation", "test"]
"""To train on, to choose an exit by, to test on."""


ArrayLayout = Literal["nhwc", "nchw"]
"""Whether the channels of an array of images come last, or right behind the samples."""


@dataclass(frozen=True)
class DataPart:
    """One part of a data set."""

    name: PartName
    """Which."""
    samples: int
    """How many samples it has."""
    class_samples: tuple[int, ...] = ()
    """How many of each class; empty where there are more classes than a document lists."""

    def __post_init__(self) -> None:
        check_range("samples", self.samples, 0, MAX_SAMPLES)
        if self.class_samples and sum(self.class_samples) != self.samples:
            raise ValueError(f"class_samples: they sum to {sum(self.class_samples)}, not to {self.samples} samples")


@dataclass(frozen=True)
class DataDescription:
    """A data set: what was found, and which samples are held out."""

    schema: Literal["data/1"]
    name: str
    """As it was named: `sample`, `fashion-mnist` or a path."""
    layout: str
    """The format it was read from, `idx` for instance: what `planner.data.split.Parts` calls it."""
    input: tuple[int, ...]
    """Extents of a sample as it is trained on: channels, height and width of an image."""
    classes: int
    """Labels are 0 … classes - 1."""
    class_names: tuple[str, ...]
    """The name of every class, by label; empty where the data names none."""
    parts: tuple[DataPart, ...]
    """Training, validation and test part, in this order."""
    held_out: tuple[PartName, ...]
    """Those of them that are drawn from the set's own training samples, a part of every class."""
    seed: int
    """What they are drawn by."""
    digest: str
    """sha256 over the files' names and sizes, if it is a folder of images, and over all labels."""
    content: str
    """sha256 over the bytes of samples taken at even distances."""
    notes: tuple[str, ...] = ()
    """What a person should know: what was left out, converted or lies in one part alone."""
    labels: LabelKind = added("class")
    """What samples are labelled with; `classes` are then as many numbers or flags."""
    label_bytes: int = added(CLASS_BYTES)
    """Bytes of a sample's label behind its record."""
    input_dtype: InputDtype = added("uint8")
    """What a sample's numbers are."""
    class_pixels: tuple[int, ...] = added(())
    """How many pixels of all masks are of each class, as the masks lie there; empty: labels are none."""
    ignored_pixels: int = added(0)
    """How many are of no class (ignore_index)."""
    validation: str | None = added(None)
    """Where its validation part lies, as that was named; null: it is the set's own, or held out."""

    def __post_init__(self) -> None:
        check_range("classes", self.classes, 1, MAX_CLASSES)
        check_class_names(self.class_names, self.classes)
        check_range("label_bytes", self.label_bytes, 0, MAX_LABEL_BYTES)
        if tuple(part.name for part in self.parts) != ("train", "validation", "test"):
            raise ValueError("parts: they are train, validation and test, in this order")

    def part(self, name: PartName) -> DataPart:
        """The part of that name."""
        return next(part for part in self.parts if part.name == name)

    @property
    def training_samples(self) -> int:
        """Samples to train on where no exit is chosen: what is held out for that choice counted with them."""
        held_out = self.part("validation").samples if "validation" in self.held_out else 0
        return self.part("train").samples + held_out

    @property
    def fingerprint(self) -> str:
        """What the data is known again by, in one number: names that were typed and notes are no part of it."""
        said = content(replace(self, name="", notes=(), validation=None))
        return hashlib.sha256(json.dumps(said, ensure_ascii=False, allow_nan=False).encode()).hexdigest()

    @property
    def record_bytes(self) -> int:
        """Bytes of one sample without its label."""
        return sample_bytes(self.input_dtype, self.input)

    @property
    def called(self) -> str:
        """What its samples are called."""
        return "images" if self.input_dtype == "uint8" and len(self.input) == 3 else "samples"


def listed(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Counts by class, as far as a document lists so many."""
    return counts if len(counts) <= MAX_LIST_LENGTH else ()


def differences(before: DataDescription, now: DataDescription) -> list[str]:
    """What makes `now` other data than `before`, in words; the name that was typed makes no difference."""
    found = []
    if before.class_names != now.class_names:
        found.append(class_difference(before.class_names, now.class_names, "those it had"))
    elif before.classes != now.classes:
        found.append(f"it had {before.classes} classes, and has {now.classes}")
    if (before.labels, before.label_bytes) != (now.labels, now.label_bytes):
        found.append("its labels are of another kind")
    if (before.input, before.input_dtype) != (now.input, now.input_dtype):
        was, is_now = (show_input(each.input, each.input_dtype) for each in (before, now))
        found.append(f"its {before.called} were read as {was}, and are {is_now}")
    if before.parts != now.parts:
        found += [
            f"the {old.name} part had {old.samples} samples, and has {new.samples}"
            for old, new in zip(before.parts, now.parts, strict=True)
            if old.samples != new.samples
        ] or ["its classes have other numbers of samples"]
    if before.seed != now.seed and "test" in (*before.held_out, *now.held_out):
        found.append(f"samples were held out by seed {before.seed}, and would be by {now.seed}")
    if not found and before.digest != now.digest:
        found.append("other labels, or files of other names or sizes")
    if not found and before.content != now.content:
        found.append("the samples' content differs")
    return found


def class_difference(before: tuple[str, ...], now: tuple[str, ...], called: str) -> str:
    """How the class names of a data set differ from others, which are `called` so, in words."""
    gone, new = ([name for name in ours if name not in theirs] for ours, theirs in ((before, now), (now, before)))
    parts = [f"{what} {some(names)}" for what, names in (("lacks", gone), ("has", new)) if names]
    if not parts:
        return f"its classes stand in another order than {called}"
    return f"its classes are not {called}: it {' and '.join(parts)}"


def some(names: list[str]) -> str:
    """The first of some names, and how many there are besides."""
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
