"""What an opened data set looks like, whatever it was stored as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from planner import limits
from planner.data.mask_pixels import MaskPixels
from planner.data.stratify import HELD_OUT_EVERY
from planner.errors import DataError
from planner.schema.inputs import InputDtype, check_input
from planner.tasks.base import DataLabels, Label, LabelKind


@dataclass(frozen=True)
class DataInfo:
    """What a data set holds, before anything is held out."""

    name: str
    """What the person typed."""
    train_samples: int
    """Samples of its training part."""
    test_samples: int
    """Samples of its own test part; 0 where it has none."""
    shape: tuple[int, ...]
    """Extents of a sample: channels, height and width of an image."""
    dtype: InputDtype
    """What its numbers are."""
    classes: int
    """Labels are 0 … classes - 1; of other labels as many numbers or flags."""
    label_names: tuple[str, ...]
    """The name of every class, or empty where the files name none."""
    labels: DataLabels
    """What samples are labelled with."""


class Split(Protocol):
    """One part of a data set, opened. Safe to read from any thread."""

    @property
    def samples(self) -> int:
        """How many samples the part has."""

    @property
    def record_bytes(self) -> int:
        """Bytes of one sample without its label; an image's are channels × height × width, in that order."""

    @property
    def label_bytes(self) -> int:
        """Bytes of a sample's label."""

    def read_into(self, index: int, image: memoryview) -> Label:
        """Fill `image` (writable, `record_bytes` long) with sample `index` and return its label.

        Raises DataError or StorageError naming file and record where storage cannot give it, IndexError outside
        0 … samples - 1.
        """

    def close(self) -> None:
        """Give back what the part holds open; a second call does nothing."""


class SourceSplit(Split, Protocol):
    """A part of a data set as people have it, from which records are prepared."""

    def labels(self) -> Iterator[int]:
        """The class of every sample in order; no image is read for it. 0 where labels are no classes."""

    def label_pieces(self) -> Iterator[bytes]:
        """All labels that are no classes, as they are stored, to know them again by."""

    def stored(self, index: int) -> bytes:
        """Bytes of a sample as it is stored, to know it again by: the image, or the beginning of its file."""


@dataclass(frozen=True)
class Parts:
    """What every format's opener returns: the set's parts as they lie on storage, before anything is held out."""

    layout: str
    """How they lie there."""
    train: SourceSplit
    """The training part."""
    test: SourceSplit | None
    """The test part, where the set has one."""
    shape: tuple[int, ...]
    """Extents of a sample: channels, height and width of an image."""
    classes: int
    """Labels are 0 … classes - 1; of other labels as many numbers or flags."""
    label_names: tuple[str, ...] = ()
    """The name of every class, or empty."""
    storage_bytes: int = 0
    """Bytes written into the work folder."""
    validation: SourceSplit | None = None
    """The validation part, where the set has one beside its test part."""
    identity: str = ""
    """Digest of file names and sizes, where there are many."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it was read."""
    decode_bytes: tuple[str, int] = ("", 0)
    """The file that takes most memory to decode, and about how much; nothing where none takes much."""
    labels: LabelKind = "class"
    """What samples are labelled with."""
    label_extents: tuple[int, ...] = ()
    """Height and width of masks."""
    dtype: InputDtype = "uint8"
    """What a sample's numbers are."""
    pixels: MaskPixels | None = None
    """Of which classes the pixels of masks are."""
    validation_name: str | None = None
    """Where the validation part lies, if it was named apart."""


class Dataset:
    """An opened data set, as people have it. Close it, or use it in a `with` statement."""

    def __init__(self, name: str, parts: Parts, resources: ExitStack) -> None:
        """`resources` closes everything that was opened for `parts`."""
        if parts.labels == "class" and parts.classes < 2:
            raise DataError(name, f"has {parts.classes} class; training needs at least 2")
        if parts.pixels is not None and parts.classes < 2:
            parts.pixels.check(name)
        if parts.test is None and parts.train.samples < HELD_OUT_EVERY:
            raise DataError(
                name,
                f"has {parts.train.samples} samples and no test part; a tenth is held out to test on, "
                f"so at least {HELD_OUT_EVERY} are needed",
            )
        self.parts = parts
        self.train = parts.train
        self.validation = parts.validation
        self.test = parts.test
        self.storage_bytes = parts.storage_bytes
        self._resources = resources
        self.info = DataInfo(
            name=name,
            train_samples=parts.train.samples,
            test_samples=0 if parts.test is None else parts.test.samples,
            shape=parts.shape,
            dtype=parts.dtype,
            classes=parts.classes,
            label_names=parts.label_names,
            labels=DataLabels(
                parts.labels,
                parts.classes,
                parts.label_extents,
                "" if parts.pixels is None else parts.pixels.highest_in,
            ),
        )

    def close(self) -> None:
        """Close all parts."""
        self._resources.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_index(index: int, samples: int) -> None:
    """Raise IndexError unless 0 ≤ index < samples."""
    if not 0 <= index < samples:
        raise IndexError(f"sample {index} of {samples}")


def check_samples(file: str, samples: int) -> None:
    """Raise DataError unless a file's promise of `samples` records is above zero and within the limits."""
    if samples < 1:
        raise DataError(file, "holds no samples")
    if samples > limits.MAX_SAMPLES:
        raise DataError(file, f"promises {samples} samples; at most {limits.MAX_SAMPLES} are read")


def check_shape(file: str, shape: tuple[int, ...]) -> None:
    """Raise DataError unless a sample of `shape`, (channels, height, width) of an image, is within the limits."""
    if len(shape) != 3:
        try:
            check_input(shape)
        except ValueError as error:
            raise DataError(file, str(error)) from None
        return
    channels, height, width = shape
    if not (1 <= height <= limits.MAX_EXTENT and 1 <= width <= limits.MAX_EXTENT):
        raise DataError(file, f"images of {height}×{width}; height and width are 1 to {limits.MAX_EXTENT}")
    if not 1 <= channels <= limits.MAX_CHANNELS:
        raise DataError(file, f"images of {channels} channels; 1 to {limits.MAX_CHANNELS} are possible")
    if channels * height * width > limits.MAX_ACTIVATION_NUMEL:
        raise DataError(
            file, f"an image of {channels}×{height}×{width} has more than {limits.MAX_ACTIVATION_NUMEL} values"
        )
