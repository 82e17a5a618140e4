"""Images of arrays brought to another height and width, as pictures of a folder are: by Pillow, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planner.data.framing import resized_extents
from planner.data.masks import resize_mask
from planner.data.pictures import import_pillow, resize_planes
from planner.data.split import Parts, SourceSplit, check_shape
from planner.errors import DataError
from planner.schema.inputs import show_input
from planner.tasks.base import Label


def resized(parts: Parts, name: str, size: tuple[int, int], shorter_side: int | None = None) -> Parts:
    """The same data set with images of `size` (height, width); unchanged where they are. `name` is what errors call it.

    With a `shorter_side` all of them are resized to that, proportions kept, and their middle of `size` is cut out.

    Masks are resized with them, to the nearest pixel. Raises DataError where Pillow is not installed, or masks are not
    as large as their images.
    """
    if parts.dtype != "uint8" or len(parts.shape) != 3:
        raise DataError(name, f"its samples are {show_input(parts.shape, parts.dtype)}: only images can be resized")
    channels, height, width = parts.shape
    if (height, width) == size and shorter_side is None:
        return parts
    is_mask = parts.labels == "mask"
    if is_mask and parts.label_extents != (height, width):
        has = "×".join(map(str, parts.label_extents))
        raise DataError(name, f"its masks are {has}, but its images are {height}×{width}")
    import_pillow(name, "resizing images")
    resized_extents(name, (height, width), size, shorter_side)
    had, shape = (channels, height, width), (channels, *size)
    check_shape(name, shape)

    def each(split: SourceSplit | None) -> ResizedSplit | None:
        return None if split is None else ResizedSplit(split, had, shape, shorter_side, is_mask)

    return replace(
        parts,
        train=ResizedSplit(parts.train, had, shape, shorter_side, is_mask),
        validation=each(parts.validation),
        test=each(parts.test),
        shape=shape,
        label_extents=size if is_mask else parts.label_extents,
        notes=(*parts.notes, _note(had, size, shorter_side)),
    )


def _note(had: tuple[int, int, int], size: tuple[int, int], shorter_side: int | None) -> str:
    """What a person should know of it."""
    said = f"all images are {had[1]}×{had[2]}: resized to "
    if shorter_side is None:
        return said + f"{size[0]}×{size[1]}"
    return said + f"a shorter side of {shorter_side}, and their middle {size[0]}×{size[1]} cut out"


class ResizedSplit:
    """A part of a data set whose images are resized as they are read."""

    def __init__(
        self,
        split: SourceSplit,
        had: tuple[int, int, int],
        shape: tuple[int, int, int],
        shorter_side: int | None,
        is_mask: bool,
    ) -> None:
        """`had` is (channels, height, width) of the split's images, `shape` that of what is read here; `is_mask`:
        whether labels are resized with them."""
        self._split = split
        self._had = had
        self._shape = shape
        self.samples = split.samples
        self.record_bytes = shape[0] * shape[1] * shape[2]
        self._shorter_side = shorter_side
        self._is_mask = is_mask
        self.label_bytes = shape[1] * shape[2] if is_mask else split.label_bytes

    def read_into(self, index: int, image: memoryview) -> Label:
        if image.nbytes != self.record_bytes:
            raise ValueError(f"{image.nbytes} bytes given for an image of {self.record_bytes}")
        stored = bytearray(self._split.record_bytes)
        label = self._split.read_into(index, memoryview(stored))
        resize_planes(f"image {index}", stored, self._had, self._shape[1:], image, self._shorter_side)
        if not self._is_mask:
            return label
        return resize_mask(f"mask {index}", label, self._had[1:], self._shape[1:], self._shorter_side)

    def labels(self) -> Iterator[int]:
        """The class of every sample in order."""
        return self._split.labels()

    def label_pieces(self) -> Iterator[bytes]:
        """All labels that are no classes."""
        return self._split.label_pieces()

    def stored(self, index: int) -> bytes:
        """A sample's image as it lies on storage."""
        return self._split.stored(index)

    def close(self) -> None:
        self._split.close()
