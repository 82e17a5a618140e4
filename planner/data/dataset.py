"""Data sets, opened by name or path and read sample by sample: never held in memory whole.

What lies there is told by its content where it has one to tell (a zip's, a gzip's, an IDX file's and an image's first
bytes) and by the file names that the layouts prescribe otherwise.
"""

from __future__ import annotations

import dataclasses
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from planner.data.array_form import WantedSamples
from planner.data.arrays import RecordFile
from planner.data.cifar import find_batches, open_cifar
from planner.data.class_folders import find_folders
from planner.data.csv_table import find_tables, open_csv
from planner.data.folder import open_folder
from planner.data.idx import find_idx_files, open_idx
from planner.data.mask_folder import open_mask_folder
from planner.data.mask_folders import find_mask_layout
from planner.data.named_validation import check_named, with_validation
from planner.data.npy import NPY_MAGIC
from planner.data.npz import ZIP_MAGIC, has_arrays, open_npy_folder, open_npz
from planner.data.pace import Pace
from planner.data.picture_list import SUFFIXES
from planner.data.resized import resized
from planner.data.split import DataInfo, Dataset, Parts
from planner.errors import DataError, InputError
from planner.sample import SAMPLE_FILE
from planner.schema.data import ArrayLayout
from planner.schema.inputs import InputDtype, show_input
from planner.tasks.kinds import CLASSIFICATION, AnyTask, ignored_by

__all__ = ["DataInfo", "Dataset", "check_fits", "open_data"]

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package dataset-fashion-mnist puts its files."""

FASHION_MNIST_LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""From the data set's README, https://github.com/zalandoresearch/fashion-mnist."""

_HEAD_BYTES = 512
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"Rar!")
"""What gzip, bzip2, xz, 7-zip, zstd and rar begin with."""
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")

_MASK_LAYOUTS = (
    "folders images and masks with files of the same names (or train/images and train/masks, images/train and "
    "masks/train, JPEGImages and SegmentationClass), or an .npz file"
)
_LAYOUTS = (
    "understood are: a folder with IDX files (train-images-idx3-ubyte, …, compressed or not), a folder of CIFAR-10 "
    "binary batches (data_batch_1.bin, …), a folder of images per class (DIR/<class>/*.png or DIR/train/<class>/*.png) "
    "or of images with masks (DIR/images/*.png and DIR/masks/*.png), an .npz file with `images` and `labels` (or x and "
    "y), a folder of such .npy files and a .csv table of numbers with a column `label`"
)


def open_data(
    name_or_path: str,
    work_dir: Path,
    *,
    size: tuple[int, ...] | None = None,
    dtype: InputDtype | None = None,
    tokens: int = 0,
    layout: ArrayLayout | None = None,
    resize: tuple[int, int] | None = None,
    shorter_side: int | None = None,
    pace: Pace | None = None,
    most_bytes: int | None = None,
    task: AnyTask | None = CLASSIFICATION,
    validation: str | None = None,
) -> Dataset:
    """Open `sample`, `fashion-mnist` or the file or folder at a path. A folder of that name is given as `./sample`.

    `size` is the model's input, (channels, height, width) of images, to which a folder's are converted and resized;
    without it most images decide, or `resize`, a height and a width. Arrays are resized where `resize` is given;
    `layout` is the order of their extents where `size` does not settle it. `dtype` is what the model takes, without it
    the file decides; `tokens` is how many it tells apart. Compressed data is unpacked once into `work_dir`/data. All
    labels are checked here, images when they are read. `pace` tells how many pictures of a folder were found;
    `most_bytes` is how much may be unpacked; `task` says what samples are labelled with: none leaves that to the data.
    `shorter_side` is what images are resized to before `resize` is cut out of their middle. `validation` names a data
    set all of whose samples are the validation part.

    Raises DataError naming the file, and the record where there is one; StorageError when `work_dir` cannot take what
    is unpacked.
    """
    resources = ExitStack()
    if size is not None and resize is not None and size[1:] != resize:
        option = "--resize" if shorter_side is None else "--crop"
        raise InputError(f"{option} is {resize[0]}x{resize[1]}, but the model takes {size[1]}x{size[2]}")
    try:
        wanted = WantedSamples(size, dtype, tokens, layout)
        how = _Reading(work_dir, wanted, resize, shorter_side, resources, pace, most_bytes, task)
        parts = _opened(name_or_path, how)
        if validation is not None:
            check_named(name_or_path, validation)
            alike = dataclasses.replace(wanted, size=parts.shape, dtype=parts.dtype)
            beside = dataclasses.replace(how, wanted=alike, work_dir=work_dir / "validation")
            parts = with_validation(parts, name_or_path, _opened(validation, beside), validation)
        return Dataset(name_or_path, parts, resources)
    except BaseException:
        resources.close()
        raise


def check_fits(
    info: DataInfo, wanted: tuple[int, ...], outputs: int, task: AnyTask, called: str, dtype: InputDtype = "uint8"
) -> None:
    """Raise InputError where data does not fit a model, `called` so, that takes `wanted` and has `outputs`."""
    if (info.shape, info.dtype) != (wanted, dtype):
        is_image = info.dtype == "uint8" and len(info.shape) == 3
        are, has = "images are" if is_image else "samples are", show_input(info.shape, info.dtype)
        why = ", 8-bit values" if info.dtype == "uint8" != dtype else ""
        other = " (--resize brings images to it)" if is_image and info.shape[:1] == wanted[:1] and not why else ""
        raise InputError(f"{info.name}: its {are} {has}{why}, but {called} takes {show_input(wanted, dtype)}{other}")
    try:
        task.check_data(info.labels, outputs, wanted, called)
    except ValueError as error:
        raise InputError(f"{info.name}: {error}") from None


@dataclass(frozen=True)
class _Reading:
    """How a data set is to be read."""

    work_dir: Path
    """Where compressed data is unpacked."""
    wanted: WantedSamples
    """What the model takes."""
    resize: tuple[int, int] | None
    """Height and width that images are resized to."""
    shorter_side: int | None
    """What their shorter side is resized to before these are cut out of the middle; none: nothing is cut off."""
    resources: ExitStack
    """Closes what is opened."""
    pace: Pace | None
    """Tells how many pictures were found."""
    most_bytes: int | None
    """How much may be unpacked; none: as much as there is."""
    task: AnyTask | None
    """What samples are labelled for; none: whatever the data has."""


def _opened(name: str, how: _Reading) -> Parts:
    parts = _open_named(name, how)
    if how.resize is None or parts.layout in ("folder", "masks"):  # pictures are decoded so
        return parts
    return resized(parts, name, how.resize, how.shorter_side)


def _open_named(name: str, how: _Reading) -> Parts:
    if not name:
        raise DataError("data", "no name or path is given; `sample`, `fashion-mnist` or a path is needed")
    if name == "sample":
        return dataclasses.replace(
            open_npz(SAMPLE_FILE, how.work_dir, how.resources, most_bytes=how.most_bytes),
            label_names=FASHION_MNIST_LABELS,
        )
    if name == "fashion-mnist":
        if not FASHION_MNIST_FOLDER.is_dir():
            raise DataError(
                str(FASHION_MNIST_FOLDER),
                "is not there; install the Debian package dataset-fashion-mnist, or give the path of a folder with its "
                "four IDX files",
            )
        parts = _open_folder(FASHION_MNIST_FOLDER, how)
        return dataclasses.replace(parts, label_names=FASHION_MNIST_LABELS)
    return _open_path(name, how)


def _open_path(name: str, how: _Reading) -> Parts:
    path = Path(name)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(name, f"cannot be opened ({reason}); `sample`, `fashion-mnist` or a path is needed") from None
    if is_folder:
        return _open_folder(path, how)
    if path.suffix.lower() == ".csv":
        return open_csv(path, {"train": path}, how.work_dir, how.resources, how.wanted, how.most_bytes, how.task)
    file = RecordFile(path, how.resources)
    head = file.read(0, min(file.size, _HEAD_BYTES))
    if not head.startswith(ZIP_MAGIC):
        raise DataError(name, f"is {_other_file(head)}in no layout that is understood; {_LAYOUTS}")
    file.close()
    return open_npz(path, how.work_dir, how.resources, how.wanted, how.most_bytes, how.task)


def _other_file(head: bytes) -> str:
    """What a file is that begins so, as far as that helps."""
    if head.startswith(_COMPRESSED) or head[257:262] == b"ustar":
        return "compressed, or an archive (unpack it, and give the folder): "
    if head.startswith(NPY_MAGIC):
        return (
            "a single array (put images.npy and labels.npy into a folder and give that, or one file of numpy.savez): "
        )
    if head.startswith(_PICTURES):
        return "a single picture: "
    return ""


def _open_folder(path: Path, how: _Reading) -> Parts:
    try:
        names = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})") from None
    if not names:
        raise DataError(str(path), f"is an empty folder; {_LAYOUTS}")
    if find_idx_files(names):
        return open_idx(path, names, how.work_dir, how.resources, how.most_bytes)
    if find_batches(names):
        return open_cifar(path, names, how.resources)
    if "data_batch_1" in names:
        raise DataError(
            str(path), "holds pickled CIFAR-10 batches, which are never opened; take the set's binary version"
        )
    if has_arrays(names):
        return open_npy_folder(path, how.work_dir, how.resources, how.wanted, how.task)
    if tables := find_tables(path, names):
        return open_csv(path, tables, how.work_dir, how.resources, how.wanted, how.most_bytes, how.task)
    folders = find_folders(path)
    size, framing = how.wanted.image_size, (how.resize, how.shorter_side)
    if how.task is None or how.task.labels_from == "mask":
        masks = find_mask_layout(path, folders)
        if masks is not None:
            ignored = ignored_by(how.task)
            return open_mask_folder(path, masks, size, ignored, how.work_dir, how.resources, *framing, how.pace)
        if how.task is not None:
            raise DataError(str(path), f"holds no images with masks; needed are {_MASK_LAYOUTS}")
    elif find_mask_layout(path, folders) is not None:
        raise DataError(
            str(path),
            f"holds images and their masks, which are for --task segmentation, not {how.task.kind_words}; where these "
            "are folders of classes, give them other names",
        )
    parts = open_folder(path, folders, size, how.work_dir, how.resources, *framing, how.pace) if folders else None
    loose = sum(name.lower().endswith(SUFFIXES) for name in names)
    if parts is None and loose:
        raise DataError(
            str(path),
            f"holds {loose:,} {'picture' if loose == 1 else 'pictures'} and no folders of classes: put each into a "
            "folder that is called as its class",
        )
    if parts is None:
        raise DataError(str(path), f"is in no layout that is understood; {_LAYOUTS}")
    return parts
