"""Mean and standard deviation of the images of a data set, to normalise by: counted in integers, so exact.

The 256 values are counted for each channel; what comes out does not depend on the order of samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from planner.data.describe import describe
from planner.data.pace import Pace
from planner.data.split import Dataset
from planner.errors import DataError
from planner.schema.inputs import show_input
from planner.schema.preprocessing import Normalisation

_VALUES = 256
_MOST = _VALUES - 1

Counts = NDArray[np.int64]
"""How often each value is there: (channels, 256)."""


def measure(data: Dataset, seed: int, pace: Pace | None = None) -> Normalisation:
    """Of every sample of the training part but those that `seed` holds out to test on, as they are trained on.

    `pace` tells how far it is. Raises DataError, StorageError.
    """
    if data.parts.dtype != "uint8":
        has = show_input(data.parts.shape, data.parts.dtype)
        raise DataError(data.info.name, f"mean and std are measured of 8-bit values; its samples are {has}")
    described, pace = describe(data, seed), pace or Pace()
    pace.begin("measuring", described.description.training_samples)
    channels = data.parts.shape[0]
    counts = np.zeros((channels, _VALUES), np.int64)
    image = bytearray(data.train.record_bytes)
    planes = np.frombuffer(image, np.uint8).reshape(channels, -1)
    for index, part in enumerate(described.draw.parts(data.train.labels())):
        if part != "test":
            data.train.read_into(index, memoryview(image))
            count(planes, counts)
            pace.step()
    return normalisation_of(counts)


def measure_values(images: Iterable[bytes], channels: int) -> Normalisation:
    """The same of images as 8-bit values, channels last."""
    counts = np.zeros((channels, _VALUES), np.int64)
    for image in images:
        count(np.frombuffer(image, np.uint8).reshape(-1, channels).T, counts)
    return normalisation_of(counts)


def count(planes: NDArray[np.uint8], counts: Counts) -> None:
    """Add the values of an image, (channels, values) of uint8, to `counts`."""
    for channel, plane in enumerate(planes):
        counts[channel] += np.bincount(plane, minlength=_VALUES)


def normalisation_of(counts: Counts) -> Normalisation:
    """By mean and population standard deviation of each channel; one that is the same everywhere is left as wide as it
    is (std 1)."""
    mean, std = [], []
    for row in counts:
        found = [int(number) for number in row]
        total = sum(found)
        first = sum(value * number for value, number in enumerate(found))
        second = sum(value * value * number for value, number in enumerate(found))
        mean.append(first / (_MOST * total))
        std.append(sqrt(total * second - first * first) / (_MOST * total) or 1.0)
    return Normalisation(tuple(mean), tuple(std))
