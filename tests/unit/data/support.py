"""Data sets written with numpy, gzip and Pillow, and a reader that compares what comes back: the tests' oracle."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from planner.data.split import Split
from planner.tasks.base import class_of

Bytes = NDArray[np.uint8]
Integers = NDArray[Any]


def random_images(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def cycling_labels(count: int, classes: int) -> Integers:
    return np.arange(count, dtype=np.int64) % classes


def read_all(split: Split | None, shape: tuple[int, ...]) -> tuple[Bytes, list[int]]:
    """Read a part sample by sample into an array of N×C×H×W and a list of labels."""
    assert split is not None
    images = np.zeros((split.samples, *shape), dtype=np.uint8)
    assert split.record_bytes == images[0].size
    labels = [class_of(split.read_into(index, memoryview(images[index].reshape(-1)))) for index in range(split.samples)]
    return images, labels


def write_idx(
    folder: Path, part: str, images: Bytes, labels: Integers, *, separator: str = "-", zipped: bool = False
) -> None:
    """Write images (N×H×W) and labels (N) as `part` (`train` or `t10k`)."""
    folder.mkdir(exist_ok=True)
    for role, array, dimensions in (("images", images, 3), ("labels", labels, 1)):
        data = struct.pack(f">4B{dimensions}I", 0, 0, 8, dimensions, *array.shape) + array.astype(np.uint8).tobytes()
        name = f"{part}-{role}{separator}idx{dimensions}-ubyte"
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


def write_cifar(path: Path, images: Bytes, labels: Integers) -> None:
    """Write one batch: images N×3×32×32, labels N."""
    rows = np.concatenate([labels.astype(np.uint8)[:, None], images.reshape(len(images), -1)], axis=1)
    path.write_bytes(rows.tobytes())


def write_image(path: Path, pixels: Bytes) -> None:
    """Write pixels (H×W or H×W×3) in the format that the suffix names, making the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
