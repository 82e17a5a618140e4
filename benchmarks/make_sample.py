"""Make the bundled sample anew: `python -m benchmarks.make_sample [FOLDER]`.

FOLDER holds the four IDX files of Fashion-MNIST, gzipped; by default it is the one that the Debian package
`dataset-fashion-mnist` fills. The same records give the same bytes: no clock and no file name of this machine gets in.
"""

from __future__ import annotations

import argparse
import gzip
import io
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from planner.data.dataset import FASHION_MNIST_FOLDER
from planner.errors import DataError, PlannerError
from planner.sample import SAMPLE_FILE

TRAIN_COUNT: Final = 4000
TEST_COUNT: Final = 1000
CLASSES: Final = 10

_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_UNSIGNED_BYTE: Final = 8  # the IDX code of the element type

Bytes = npt.NDArray[np.uint8]


def read_idx(path: Path, count: int) -> Bytes:
    """Read the first `count` records of a gzipped IDX file of unsigned bytes; the result has shape (count, …).

    Format: two zero bytes, the type code, the number of dimensions, each dimension as a big-endian 32-bit integer,
    then the elements in C order. Raises DataError that names the file.
    """
    try:
        with gzip.open(path) as file:
            zeros, kind, dimensions = struct.unpack(">HBB", file.read(4))
            if zeros != 0 or kind != _UNSIGNED_BYTE or dimensions == 0:
                raise DataError(str(path), "not an IDX file of unsigned bytes")
            records, *rest = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            data = file.read(count * math.prod(rest))
    except FileNotFoundError:
        raise DataError(str(path), "no such file; install the Debian package dataset-fashion-mnist") from None
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(str(path), f"not a whole gzipped IDX file ({error})") from None
    if records < count or len(data) != count * math.prod(rest):
        raise DataError(str(path), f"holds fewer than the {count} records needed")
    return np.frombuffer(data, np.uint8).reshape(count, *rest)


def class_counts(labels: Bytes) -> list[int]:
    """Count the records of each class; refuse labels beyond the last class and a sample that is not balanced.

    Balanced: every count lies within five standard deviations of the binomial mean that drawing blindly from equally
    frequent classes would give.
    """
    counts = [int(count) for count in np.bincount(labels, minlength=CLASSES)]
    mean = len(labels) / CLASSES
    tolerance = 5 * math.sqrt(mean * (1 - 1 / CLASSES))
    if len(counts) > CLASSES or any(abs(count - mean) > tolerance for count in counts):
        raise DataError("labels", f"not balanced over {CLASSES} classes: {counts}")
    return counts


def write_npz(path: Path, members: dict[str, Bytes]) -> None:
    """Write a compressed `.npz` whose bytes depend on the arrays (and the deflate library) alone."""
    unfinished = path.with_name(path.name + ".part")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for name, array in members.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            entry.create_system = 3  # the mode below is read as Unix's, whichever system writes
            entry.external_attr = 0o644 << 16
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0))
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    unfinished.replace(path)


def make_sample(source: Path, target: Path) -> dict[str, list[int]]:
    """Write the sample taken from the IDX files in `source` to `target`; return the class counts of each part."""
    members = {
        "images": read_idx(source / "train-images-idx3-ubyte.gz", TRAIN_COUNT),
        "labels": read_idx(source / "train-labels-idx1-ubyte.gz", TRAIN_COUNT),
        "test_images": read_idx(source / "t10k-images-idx3-ubyte.gz", TEST_COUNT),
        "test_labels": read_idx(source / "t10k-labels-idx1-ubyte.gz", TEST_COUNT),
    }
    counts = {"train": class_counts(members["labels"]), "test": class_counts(members["test_labels"])}
    write_npz(target, members)
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the sample in its place and print how many records of each class it holds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.make_sample", description="Make the bundled sample anew."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FASHION_MNIST_FOLDER, help="the IDX files, gzipped")
    folder = parser.parse_args(arguments).folder
    try:
        counts = make_sample(folder, SAMPLE_FILE)
    except PlannerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for part, per_class in counts.items():
        print(f"{part}: {sum(per_class)} records, per class {per_class}")
    print(f"{SAMPLE_FILE}: {SAMPLE_FILE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
