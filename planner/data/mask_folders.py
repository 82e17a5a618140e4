"""Which folders of a data set hold images and which their masks, and which parts they are.

Read are `images/` and `masks/`, whole or with folders for the parts in each (`images/train`, `masks/train`), or within
the folder of each part (`train/images`, `train/masks`); masks beside the folder of a part's images (`train`,
`train_masks`); and PASCAL VOC's `JPEGImages` and `SegmentationClass`, parted by the lists in `ImageSets/Segmentation`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from planner.data.class_folders import find_folders, part_named, text
from planner.errors import DataError

_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_MASKS = ("segmentationclass", "masks", "mask", "segmentations", "segmentation", "labels", "label", "annotations")
"""The first of them that holds one."""
_BESIDE = ("_masks", "_mask", "_labels", "_label", "annot", "_annot")
"""What the folder of masks beside that of a part's images is called besides."""
_LISTS = {"train": ("trainval.txt", "train.txt"), "validation": ("val.txt",), "test": ("test.txt",)}
"""Of each part, the last that is there."""
_PICTURES = (".png", ".bmp", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".webp")
"""How files end that somebody means to be masks."""
_DEPTH = 4


@dataclass(frozen=True)
class Pair:
    """Where one part's images and masks lie."""

    images: Path
    """Folder of the images."""
    masks: Path
    """Folder of the masks, whose files are called as their images'."""
    listed: Path | None = None
    """A file that names the samples, one a line, without suffix; none: all there are."""


@dataclass
class MaskLayout:
    """Which folders are the parts of a set of images with masks."""

    train: Pair
    """To train on."""
    others: dict[str, Pair] = field(default_factory=dict)
    """`validation` and `test`, as far as there are such."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of how they were found."""


def find_mask_layout(folder: Path, folders: Sequence[str]) -> MaskLayout | None:
    """How images and masks lie in `folder`, whose visible folders are `folders`; none: they do not."""
    pair = _pair(folder, folders)
    layout = _beside(folder, folders) if pair is None else _of_pair(folder, pair)
    if layout is not None and "test" not in layout.others and "validation" in layout.others:
        layout.others["test"] = layout.others.pop("validation")
        layout.notes.append("there is no test part: the validation part is tested on")
    return layout


def _pair(folder: Path, folders: Sequence[str]) -> Pair | None:
    """The folders of images and of masks in a folder."""
    by_name = {name.casefold(): folder / name for name in folders}
    images = next((by_name[name] for name in _IMAGES if name in by_name), None)
    masks = next((by_name[name] for name in _MASKS if name in by_name and _holds_mask(by_name[name])), None)
    return None if images is None or masks is None else Pair(images, masks)


def _holds_mask(folder: Path, depth: int = 0) -> bool:
    """Whether a file somewhere in a folder is called as a picture is."""
    try:
        with os.scandir(folder) as entries:
            if any(entry.name.lower().endswith(_PICTURES) and entry.name[0] != "." for entry in entries):
                return True
    except OSError as error:
        raise DataError(str(folder), f"cannot be read ({error.strerror})") from None
    return depth < _DEPTH and any(_holds_mask(folder / name, depth + 1) for name in find_folders(folder))


def _of_pair(folder: Path, pair: Pair) -> MaskLayout:
    """Of one pair of folders: by lists, by the folders in both, or all of it to train on."""
    lists = folder / "ImageSets" / "Segmentation"
    listed = {
        part: Pair(pair.images, pair.masks, lists / name)
        for part, names in _LISTS.items()
        for name in names
        if (lists / name).is_file()
    }
    return _layout(listed) or _layout(*_by_folder(pair)) or MaskLayout(pair)


def _by_folder(pair: Pair) -> tuple[dict[str, Pair], list[str]]:
    """Parts that are folders in both of a pair, and what is said of others."""
    masks = {part_named(name): name for name in find_folders(pair.masks)}
    found: dict[str, Pair] = {}
    left_out = []
    for name in find_folders(pair.images):
        part = part_named(name)
        if part is None or part in found or part not in masks:
            left_out.append(_left_out(name))
        else:
            found[part] = Pair(pair.images / name, pair.masks / masks[part])
    return found, left_out


def _beside(folder: Path, folders: Sequence[str]) -> MaskLayout | None:
    """Of a folder for each part: with images and masks in it, or masks in another one beside it."""
    by_name = {name.casefold(): folder / name for name in folders}
    found: dict[str, Pair] = {}
    left_out = []
    for name in folders:
        part = part_named(name)
        if part is None or part in found:
            continue
        pair = _pair(folder / name, find_folders(folder / name))
        masks = next((by_name[name.casefold() + end] for end in _BESIDE if name.casefold() + end in by_name), None)
        if pair is None and masks is not None and _holds_mask(masks):
            pair = Pair(folder / name, masks)
        if pair is None:
            left_out.append(_left_out(name))
        else:
            found[part] = pair
    return _layout(found, left_out)


def _layout(found: Mapping[str, Pair], notes: Sequence[str] = ()) -> MaskLayout | None:
    """These parts; none where none is to train on."""
    others = {part: found[part] for part in ("validation", "test") if part in found}
    return MaskLayout(found["train"], others, list(notes)) if "train" in found else None


def _left_out(name: str) -> str:
    return f"left out: the folder {text(name)!r}, which has no masks"
