"""What an opened data set looks like to planner and runner, whatever it was stored as."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from planner import limits
from planner.errors import DataError

HELD_OUT_EVERY = 10
"""Of a set without a test part, every tenth sample is kept from training and tested on."""


@dataclass(frozen=True)
class DataInfo:
    """What the planner needs to know about a data set."""

    name: str
    """What the person typed."""
    train_samples: int
    """Samples trained on, held-out ones not counted: always `Dataset.train.samples`."""
    test_samples: int
    """Samples of the set's own test part; 0 where it has none and `Dataset.test` is a held-out tenth of training."""
    channels: int
    """Channels of an image."""
    height: int
    """Rows of an image."""
    width: int
    """Columns of an image."""
    classes: int
    """Labels are 0 … classes - 1."""
    label_names: tuple[str, ...]
    """The name of every class, or empty where the files name none."""


class Split(Protocol):
    """One part of a data set, opened. Safe to read from any thread."""

    @property
    def samples(self) -> int:
        """How many samples the part has."""

    @property
    def record_bytes(self) -> int:
        """Bytes of one uint8 image: channels × height × width, in that order."""

    def read_into(self, index: int, image: memoryview) -> int:
        """Fill `image` (writable, `record_bytes` long) with sample `index` and return its label.

        Raises DataError naming file and record where storage cannot give it, IndexError outside 0 … samples - 1.
        """

    def close(self) -> None:
        """Give back what the part holds open; a second call does nothing."""


@dataclass(frozen=True)
class Parts:
    """What every format's opener returns: the set's parts as they lie on storage, before anything is held out."""

    train: Split
    """The training part."""
    test: Split | None
    """The test part, where the set has one."""
    shape: tuple[int, int, int]
    """Channels, height, width."""
    classes: int
    """Labels are 0 … classes - 1."""
    label_names: tuple[str, ...] = ()
    """The name of every class, or empty."""
    storage_bytes: int = 0
    """Bytes written into the work folder."""


class Dataset:
    """An opened data set. Close it, or use it in a `with` statement."""

    def __init__(self, name: str, parts: Parts, resources: ExitStack) -> None:
        """`resources` closes everything that was opened for `parts`."""
        held_out = parts.test is None
        train, test = hold_out(parts.train) if parts.test is None else (parts.train, parts.test)
        if parts.classes < 2:
            raise DataError(name, f"has {parts.classes} class; training needs at least 2")
        if test.samples == 0:
            raise DataError(
                name,
                f"has {train.samples} samples and no test part; a tenth is held out to test on, "
                f"so at least {HELD_OUT_EVERY} are needed",
            )
        self.train: Split = train
        self.test: Split = test
        self.storage_bytes = parts.storage_bytes
        self._resources = resources
        channels, height, width = parts.shape
        self.info = DataInfo(
            name=name,
            train_samples=train.samples,
            test_samples=0 if held_out else test.samples,
            channels=channels,
            height=height,
            width=width,
            classes=parts.classes,
            label_names=parts.label_names,
        )

    def close(self) -> None:
        """Close both parts."""
        self._resources.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _View:
    """Some samples of a part. The two views of one part are closed together."""

    def __init__(self, part: Split, samples: int, held_out: bool) -> None:
        self._part = part
        self._held_out = held_out
        self.samples = samples
        self.record_bytes = part.record_bytes

    def read_into(self, index: int, image: memoryview) -> int:
        check_index(index, self.samples)
        if self._held_out:
            return self._part.read_into(index * HELD_OUT_EVERY + HELD_OUT_EVERY - 1, image)
        return self._part.read_into(index + index // (HELD_OUT_EVERY - 1), image)

    def close(self) -> None:
        self._part.close()


def hold_out(part: Split) -> tuple[Split, Split]:
    """Divide a part in two: what stays for training, and every tenth sample (index % 10 == 9) to test on."""
    tested = part.samples // HELD_OUT_EVERY
    return _View(part, part.samples - tested, held_out=False), _View(part, tested, held_out=True)


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


def check_shape(file: str, shape: tuple[int, int, int]) -> None:
    """Raise DataError unless an image of `shape` (channels, height, width) is within the limits."""
    channels, height, width = shape
    if not (1 <= height <= limits.MAX_EXTENT and 1 <= width <= limits.MAX_EXTENT):
        raise DataError(file, f"images of {height}×{width}; height and width are 1 to {limits.MAX_EXTENT}")
    if not 1 <= channels <= limits.MAX_CHANNELS:
        raise DataError(file, f"images of {channels} channels; 1 to {limits.MAX_CHANNELS} are possible")
    if channels * height * width > limits.MAX_ACTIVATION_NUMEL:
        raise DataError(
            file, f"an image of {channels}×{height}×{width} has more than {limits.MAX_ACTIVATION_NUMEL} values"
        )
