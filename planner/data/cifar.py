"""A folder of CIFAR-10 binary batches: records of one label byte and 3×32×32 bytes, red plane first.

Format: https://www.cs.toronto.edu/~kriz/cifar.html, section "Binary version".
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from planner.data.arrays import ArraySplit, Labels, RecordFile, SampleArray
from planner.data.left_out import files_left_out
from planner.data.split import Parts
from planner.errors import DataError

SHAPE = (3, 32, 32)
RECORD_BYTES = 1 + 3 * 32 * 32

_BATCH = re.compile(r"data_batch_\d+\.bin")
_TEST_BATCH = "test_batch.bin"
_META = "batches.meta.txt"
_CLASSES = 10
_MAX_META_BYTES = 65_536


def find_batches(names: list[str]) -> list[str]:
    """Return the training batches among a folder's file names, in the order of their numbers."""
    return sorted((name for name in names if _BATCH.fullmatch(name)), key=lambda name: (len(name), name))


def open_cifar(folder: Path, names: list[str], resources: ExitStack) -> Parts:
    """Open the batches among `names` in `folder`. Classes are those of batches.meta.txt, or ten without a name."""
    label_names = _read_label_names(folder / _META, resources) if _META in names else ()
    classes = len(label_names) or _CLASSES
    train = ArraySplit([_open_batch(folder / name, classes, resources) for name in find_batches(names)])
    test = None
    if _TEST_BATCH in names:
        test = ArraySplit([_open_batch(folder / _TEST_BATCH, classes, resources)])
    read = [*find_batches(names), _TEST_BATCH, _META]
    return Parts("cifar", train, test, SHAPE, classes, label_names, notes=files_left_out(names, read))


def _open_batch(path: Path, classes: int, resources: ExitStack) -> tuple[SampleArray, Labels]:
    file = RecordFile(path, resources)
    count, rest = divmod(file.size, RECORD_BYTES)
    if rest:
        raise DataError(file.name, f"ends {rest} bytes into a record of {RECORD_BYTES}", count)
    labels = Labels(file, 0, RECORD_BYTES, count)
    labels.highest(classes)
    return SampleArray(file, 1, RECORD_BYTES, count, SHAPE), labels


def _read_label_names(path: Path, resources: ExitStack) -> tuple[str, ...]:
    file = RecordFile(path, resources)
    if file.size > _MAX_META_BYTES:
        raise DataError(file.name, f"has {file.size} bytes; a list of class names has at most {_MAX_META_BYTES}")
    try:
        names = file.read(0, file.size).decode().split("\n")
    except UnicodeDecodeError:
        raise DataError(file.name, "is not a list of class names in UTF-8") from None
    label_names = tuple(name.strip() for name in names if name.strip())
    if len(label_names) > 256:
        raise DataError(file.name, f"names {len(label_names)} classes; one byte tells at most 256 apart")
    return label_names
