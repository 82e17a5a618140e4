"""Data sets, opened by name or path and read sample by sample: never held in memory whole.

What lies there is told by its content where it has one to tell (a zip's, a gzip's, an IDX file's and an image's first
bytes) and by the file names that the layouts prescribe otherwise.
"""

from __future__ import annotations

import dataclasses
import stat
from contextlib import ExitStack
from pathlib import Path

from planner.data.arrays import RecordFile
from planner.data.cifar import find_batches, open_cifar
from planner.data.folder import find_classes, open_folder
from planner.data.idx import find_idx_files, open_idx
from planner.data.npz import ZIP_MAGIC, open_npz
from planner.data.split import DataInfo, Dataset, Parts, Split
from planner.errors import DataError, InputError
from planner.schema.model import Model

__all__ = ["DataInfo", "Dataset", "Split", "check_fits", "open_data"]

SAMPLE_FILE = Path(__file__).parents[1] / "sample" / "fashion_mnist_sample.npz"
"""The real images that come with the package."""

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package dataset-fashion-mnist puts its files."""

FASHION_MNIST_LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""From the data set's README, https://github.com/zalandoresearch/fashion-mnist."""

_LAYOUTS = (
    "understood are: a folder with IDX files (train-images-idx3-ubyte, …, compressed or not), a folder of CIFAR-10 "
    "binary batches (data_batch_1.bin, …), a folder of images per class (DIR/<class>/*.png or DIR/train/<class>/*.png) "
    "and an .npz file with `images` and `labels`"
)


def open_data(name_or_path: str, work_dir: Path, *, size: tuple[int, int, int] | None = None) -> Dataset:
    """Open `sample`, `fashion-mnist` or the file or folder at a path. A folder of that name is given as `./sample`.

    `size` is the model's input (channels, height, width), to which a folder's images are converted and resized;
    without it the first image decides. Arrays are never resized. Compressed data is unpacked once into
    `work_dir`/data. All labels are checked here, images when they are read.

    Raises DataError naming the file, and the record where there is one; StorageError when `work_dir` cannot take what
    is unpacked.
    """
    resources = ExitStack()
    try:
        return Dataset(name_or_path, _open_named(name_or_path, work_dir, size, resources), resources)
    except BaseException:
        resources.close()
        raise


def check_fits(info: DataInfo, model: Model, called: str) -> None:
    """Raise InputError, which calls the model what it is `called`, where data and model do not fit each other."""
    shape = (info.channels, info.height, info.width)
    if shape != model.input:
        has, takes = ("×".join(str(extent) for extent in extents) for extents in (shape, model.input))
        raise InputError(f"{info.name}: its images are {has}, but {called} takes {takes}")
    check_labels(info, model, called)


def check_labels(info: DataInfo, model: Model, called: str) -> None:
    """Raise InputError, which calls the model what it is `called`, where its outputs cannot be what labels say."""
    try:
        model.task.check_data(info.classes, model.classes, called)
    except ValueError as error:
        raise InputError(f"{info.name}: {error}") from None


def _open_named(name: str, work_dir: Path, size: tuple[int, int, int] | None, resources: ExitStack) -> Parts:
    if not name:
        raise DataError("data", "no name or path is given; `sample`, `fashion-mnist` or a path is needed")
    if name == "sample":
        return dataclasses.replace(open_npz(SAMPLE_FILE, work_dir, resources), label_names=FASHION_MNIST_LABELS)
    if name == "fashion-mnist":
        if not FASHION_MNIST_FOLDER.is_dir():
            raise DataError(
                str(FASHION_MNIST_FOLDER),
                "is not there; install the Debian package dataset-fashion-mnist, or give the path of a folder with its "
                "four IDX files",
            )
        parts = _open_folder(FASHION_MNIST_FOLDER, work_dir, size, resources)
        return dataclasses.replace(parts, label_names=FASHION_MNIST_LABELS)
    return _open_path(name, work_dir, size, resources)


def _open_path(name: str, work_dir: Path, size: tuple[int, int, int] | None, resources: ExitStack) -> Parts:
    path = Path(name)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(name, f"cannot be opened ({reason}); `sample`, `fashion-mnist` or a path is needed") from None
    if is_folder:
        return _open_folder(path, work_dir, size, resources)
    file = RecordFile(path, resources)
    if file.size < len(ZIP_MAGIC) or file.read(0, len(ZIP_MAGIC)) != ZIP_MAGIC:
        raise DataError(name, f"is in no layout that is understood; {_LAYOUTS}")
    file.close()
    return open_npz(path, work_dir, resources)


def _open_folder(path: Path, work_dir: Path, size: tuple[int, int, int] | None, resources: ExitStack) -> Parts:
    try:
        names = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})") from None
    if not names:
        raise DataError(str(path), f"is an empty folder; {_LAYOUTS}")
    if find_idx_files(names):
        return open_idx(path, names, work_dir, resources)
    if find_batches(names):
        return open_cifar(path, names, resources)
    if "data_batch_1" in names:
        raise DataError(
            str(path), "holds pickled CIFAR-10 batches, which are never opened; take the set's binary version"
        )
    classes = find_classes(path)
    parts = open_folder(path, classes, size, work_dir, resources) if classes else None
    if parts is None:
        raise DataError(str(path), f"is in no layout that is understood; {_LAYOUTS}")
    return parts
