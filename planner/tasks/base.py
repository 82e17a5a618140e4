"""What a task says of itself. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

Label = bytes
"""What one sample is labelled with, as it lies on storage: `LabelForm.stored_bytes` of them."""

LabelKind = Literal["class", "numbers", "flags", "mask", "none"]
"""What data sets label samples with: the number of a class, numbers, a flag (0 or 1) for every class, the number of a
class for every pixel, or nothing."""

_CLASS: LabelKind = "class"

_NUMBER_BYTES: Mapping[str, int] = {"uint8": 1, "int32": 4, "float32": 4, "int64": 8}

IGNORED = 255
"""What a mask usually says of pixels that are of no class."""

CLASS_BYTES = 4
"""The number of a class on storage."""


def class_label(number: int) -> Label:
    """The number of a class as it lies on storage."""
    return number.to_bytes(CLASS_BYTES, "little")


def class_of(label: Label) -> int:
    """The number of a class that `class_label` has written."""
    return int.from_bytes(label, "little")


@dataclass(frozen=True)
class LabelForm:
    """How the label of a sample lies in a micro-batch and on storage. Types go by torch's names."""

    shape: tuple[int, ...]
    """Its extents; of a single number none."""
    dtype: str
    """Type of its numbers in a micro-batch."""
    stored: str
    """Type of its numbers on storage, lowest byte first."""
    is_input: bool = False
    """Whether it is the input; then only caches of activations hold it."""

    @property
    def stored_bytes(self) -> int:
        """Bytes on storage."""
        return prod(self.shape) * _NUMBER_BYTES[self.stored]

    def bytes_behind(self, *, cached: bool) -> int:
        """Bytes on storage behind a record, or behind an activation where that is `cached`."""
        return 0 if self.is_input and not cached else self.stored_bytes

    @property
    def given_bytes(self) -> int:
        """Bytes in a micro-batch."""
        return prod(self.shape) * _NUMBER_BYTES[self.dtype]


CLASS_NUMBER = LabelForm((), "int64", "int32")
"""The number of a class."""


@dataclass(frozen=True)
class DataLabels:
    """What the samples of a data set are labelled with."""

    kind: LabelKind = "class"
    """What that is."""
    classes: int = 0
    """Classes that are told apart, or numbers or flags of a sample."""
    extents: tuple[int, ...] = ()
    """Height and width of a mask."""
    highest_in: str = ""
    """The mask in which the highest class was seen; empty: it is not known."""

    @property
    def words(self) -> str:
        """To be read behind `its samples are labelled with`."""
        match self.kind:
            case "class":
                return f"one of {self.classes} classes"
            case "numbers":
                return "a number" if self.classes == 1 else f"{self.classes} numbers"
            case "flags":
                return f"{self.classes} flags of 0 or 1"
            case "mask":
                return f"masks of {'×'.join(map(str, self.extents))} with {self.classes} classes"
        return "nothing"


class Metric:
    """One number over test samples that says how good a network is, and how people read it."""

    name = ""
    """What it is called."""
    higher_is_better = True
    points = 1.0
    """How many points of `--exit-tolerance` a difference of 1 is."""

    @property
    def is_share(self) -> bool:
        """Whether it is a share of 100 points, the more of which the better."""
        return self.higher_is_better and self.points == 100

    def goodness(self, value: float) -> float:
        """A number that is the larger, the better `value` is."""
        return value if self.higher_is_better else -value

    def is_better(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`."""
        return self.goodness(value) > self.goodness(other)

    def is_within(self, points: float, value: float, best: float) -> bool:
        """Whether `value` loses at most so many points to `best`, whatever the subtraction has rounded."""
        return self.goodness(value) >= self.goodness(best) - points / self.points - 1e-9

    def tolerance(self, points: float) -> str:
        """So many points, in words."""
        return f"{points:g} points"

    def interval(self, value: float, samples: int) -> tuple[float, float] | None:
        """Between which bounds the true value lies with 95 % confidence; none: not known."""
        return None

    def cell(self, value: float, samples: int | None) -> str:
        """What stands in a table beside others of as many samples."""
        raise NotImplementedError

    def share(self, value: float, samples: int | None) -> str:
        """The same within a sentence, and of how many samples; none: nobody has told of how many."""
        raise NotImplementedError

    def sentence(self, value: float, samples: int | None) -> str:
        """All of it: of how many test samples, and between which bounds where these are far apart."""
        raise NotImplementedError


class Task:
    """Base of the tasks' dataclasses. The first field of each is `kind`, a `Literal` that documents tell them apart by.

    Facts stand here without annotation: with one they would be fields of the document. `outputs` are the numbers that
    a network gives at every place of its output (`classes` of a model), `shape` is that of an input, per sample.
    """

    metric = Metric()
    """What networks are measured, exits chosen by."""
    least_outputs = 1
    """Outputs that a network needs."""
    labels_from = _CLASS
    """What data has to label samples with."""
    input_dtypes = frozenset({"uint8", "float32", "int64"})
    """What samples may hold."""
    fits_exits = True
    """Whether pooled exits can be fitted to it."""

    def check_outputs(self, outputs: int, shape: tuple[int, ...]) -> None:
        """Raise ValueError where the task's own fields do not fit a network of such outputs and input."""

    def outputs_of(self, given: tuple[int, ...], shape: tuple[int, ...]) -> int:
        """How many outputs a network has that gives `given` per sample. Raises ValueError: what would be right."""
        outputs = given[-1 if len(shape) == 1 else 0] if given else 1
        if given != self.output_shape(outputs, shape):
            right = self.output_shape(outputs, shape)
            raise ValueError(
                f"gives {'×'.join(map(str, given)) or 'a single number'} per sample; {self.kind_words} needs "
                f"{'one row of numbers' if len(right) == 1 else '×'.join(map(str, right))}"
            )
        return outputs

    @property
    def kind_words(self) -> str:
        """What people call the task."""
        return str(getattr(self, "kind", "training"))

    def check_kind(self, found: DataLabels, called: str, right: str) -> None:
        """Raise ValueError where a data set has labels of another kind; `right` says what they have to be."""
        if found.kind != self.labels_from:
            raise ValueError(
                f"its samples are labelled with {found.words}, but {called} is for {self.kind_words}, "
                f"which needs {right}"
            )

    @property
    def mask_side(self) -> int | None:
        """What comes in at the sides of a label that moves with its image, as a mask does; none: labels do not."""
        return None

    def output_shape(self, outputs: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of a sample's output of the network."""
        return (outputs,)

    def label_form(self, outputs: int, shape: tuple[int, ...]) -> LabelForm:
        """How labels lie in memory and on storage."""
        raise NotImplementedError

    def label_bytes(self, outputs: int, shape: tuple[int, ...], *, cached: bool, elsewhere: bool = False) -> int:
        """A sample's label in a micro-batch, beside what it was read into: nothing where it is the input, or is used
        as it was read, unless that is `elsewhere` than in the processor's memory."""
        form = self.label_form(outputs, shape)
        if (form.is_input and not cached) or (form.stored == form.dtype and not elsewhere):
            return 0
        return form.given_bytes

    def fit_bytes(self, features: int, outputs: int, micro_batch: int) -> int:
        """The most that fitting one linear exit takes beside the pass of samples; of tasks that say `fits_exits`."""
        raise NotImplementedError

    def words(self, outputs: int) -> str:
        """What the outputs are: `10 classes`."""
        raise NotImplementedError

    def check_data(self, found: DataLabels, outputs: int, shape: tuple[int, ...], called: str) -> None:
        """Raise ValueError where the labels of a data set do not fit a network, which errors call so."""
        raise NotImplementedError

    def label(self, value: Any, outputs: int, shape: tuple[int, ...]) -> Label:
        """A person's own label as one of ours. Raises ValueError: what it is, and what would be right."""
        raise NotImplementedError
