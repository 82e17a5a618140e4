"""A network and images small enough for an emulated processor, and real in every other way."""

from __future__ import annotations

from pathlib import Path

import numpy
import numpy.typing

from planner.schema.codec import to_json
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    Model,
    Pool2d,
    Unit,
)

Bytes = numpy.typing.NDArray[numpy.uint8]

SIDE = 12
CLASSES = 4
TRAIN_SAMPLES = 128
TEST_SAMPLES = 32


def write(folder: Path) -> dict[str, Path]:
    """Write `model.json` and `data.npz`, and say by name where they are."""
    files = {"model.json": folder / "model.json", "data.npz": folder / "data.npz"}
    files["model.json"].write_text(to_json(network()))
    _write_images(files["data.npz"])
    return files


def network() -> Model:
    """Three convolutions and a classifier: enough for plans of one block and of several."""
    head: tuple[Layer, ...] = (AdaptivePool2d("adaptive_avg_pool2d", 1, 1), Flatten("flatten"))
    units = (
        Unit("conv1", _conv(16)),
        Unit("conv2", (*_conv(16), Pool2d("max_pool2d", 2, 2))),
        Unit("conv3", _conv(32)),
        Unit("classifier", (*head, Linear("linear", CLASSES))),
    )
    return Model("model/1", "small", (1, SIDE, SIDE), CLASSES, units)


def _conv(filters: int) -> tuple[Layer, ...]:
    conv = Conv2d("conv2d", filters, 3, padding=1, bias=False)
    return (conv, BatchNorm2d("batchnorm2d"), Activation("relu"))


def _write_images(path: Path) -> None:
    generator = numpy.random.default_rng(0)
    images, labels = _images(generator, TRAIN_SAMPLES)
    test_images, test_labels = _images(generator, TEST_SAMPLES)
    numpy.savez(path, images=images, labels=labels, test_images=test_images, test_labels=test_labels)


def _images(generator: numpy.random.Generator, count: int) -> tuple[Bytes, Bytes]:
    """Noise, in which a brighter quarter tells the class."""
    labels = generator.integers(0, CLASSES, count).astype(numpy.uint8)
    images = generator.integers(0, 64, (count, SIDE, SIDE)).astype(numpy.uint8)
    half = SIDE // 2
    for image, label in zip(images, labels, strict=True):
        image[label // 2 * half :, label % 2 * half :][:half, :half] += 128
    return images, labels
