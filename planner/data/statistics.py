"""Mean and standard deviation of the samples of a data set, to normalise by.

Of images the 256 values of each channel are counted, so that what comes out is exact, in whatever order samples are.
Numbers of float32 are summed up in float64, sample by sample (Chan, Golub and LeVeque, 1979: means and squared
distances from them are joined).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from planner.data.describe import describe
from planner.data.pace import Pace
from planner.data.split import Dataset
from planner.errors import InputError
from planner.schema.inputs import InputDtype, show_input
from planner.schema.preprocessing import Normalisation

_VALUES = 256
_MOST = _VALUES - 1
_IMAGE_DIMENSIONS = 3


class Statistics(Protocol):
    """Takes samples, each as (channels, numbers of one), and says what they are normalised by."""

    def add(self, planes: NDArray[Any]) -> None:
        """Take one."""

    def normalisation(self) -> Normalisation:
        """By mean and population standard deviation of each channel; one that is the same everywhere is left as wide
        as it is (std 1)."""


class Counts:
    """Of images: how often each value is there."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, _VALUES), np.int64)

    def add(self, planes: NDArray[Any]) -> None:
        """Take an image."""
        for channel, plane in enumerate(planes):
            self._counts[channel] += np.bincount(plane, minlength=_VALUES)

    def normalisation(self) -> Normalisation:
        """In Python's integers, up to the last division."""
        mean, std = [], []
        for row in self._counts:
            found = [int(number) for number in row]
            total = sum(found)
            first = sum(value * number for value, number in enumerate(found))
            second = sum(value * value * number for value, number in enumerate(found))
            mean.append(first / (_MOST * total))
            std.append(sqrt(total * second - first * first) / (_MOST * total) or 1.0)
        return Normalisation(tuple(mean), tuple(std))


class Moments:
    """Of numbers: how many, their mean, and the sum of squared distances from it."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._mean = np.zeros(channels)
        self._squares = np.zeros(channels)

    def add(self, planes: NDArray[Any]) -> None:
        """Take a sample."""
        numbers = planes.astype(np.float64)
        count, mean = numbers.shape[1], numbers.mean(axis=1)
        away, total = mean - self._mean, self._count + count
        self._squares += ((numbers - mean[:, None]) ** 2).sum(axis=1) + away**2 * (self._count * count / total)
        self._mean += away * (count / total)
        self._count = total

    def normalisation(self) -> Normalisation:
        """Of all samples."""
        std = (sqrt(each / self._count) or 1.0 for each in self._squares)
        return Normalisation(tuple(map(float, self._mean)), tuple(std))


_STORED = {"uint8": "u1", "float32": "<f4"}


def measure(data: Dataset, seed: int, pace: Pace | None = None) -> Normalisation:
    """Of every sample of the training part but those that `seed` holds out to test on, as they are trained on.

    `pace` tells how far it is. Raises InputError for tokens, DataError, StorageError.
    """
    parts = data.parts
    statistics = _statistics(parts.dtype, parts.shape)
    described, pace = describe(data, seed), pace or Pace()
    pace.begin("measuring", described.description.training_samples)
    sample = bytearray(data.train.record_bytes)
    planes = np.frombuffer(sample, _STORED[parts.dtype]).reshape(parts.shape[0], -1)
    for index, part in enumerate(described.draw.parts(data.train.labels())):
        if part != "test":
            data.train.read_into(index, memoryview(sample))
            statistics.add(planes)
            pace.step()
    return statistics.normalisation()


def measure_values(samples: Iterable[bytes], dtype: InputDtype, shape: Sequence[int]) -> Normalisation:
    """The same of a program's samples as they are written down: of three extents with the channels last."""
    statistics = _statistics(dtype, shape)
    for sample in samples:
        numbers = np.frombuffer(sample, _STORED[dtype])
        is_last = len(shape) == _IMAGE_DIMENSIONS
        statistics.add(numbers.reshape(-1, shape[0]).T if is_last else numbers.reshape(shape[0], -1))
    return statistics.normalisation()


def _statistics(dtype: InputDtype, shape: Sequence[int]) -> Statistics:
    match dtype:
        case "uint8":
            return Counts(shape[0])
        case "float32":
            return Moments(shape[0])
    raise InputError(f"mean and std are of numbers; the model takes {show_input(tuple(shape), dtype)}")
