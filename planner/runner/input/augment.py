"""Augmentation: images shifted and mirrored in place, in the buffer they were read into. No torch here.

What becomes of a sample is a function of the seed, the view and the sample's index, never of history. Moving by a few
pixels, with zeros coming in, and mirroring is what CIFAR's images are usually trained with (He et al., "Deep Residual
Learning for Image Recognition", 2016, section 4.2).
"""

from __future__ import annotations

import hashlib

from planner.data.split import Split
from planner.schema.request import Augment
from planner.tasks.base import Label

_CROPPED = 8
"""An image moves by at most this part of its height and width: 4 pixels of 32."""


class Augmented:
    """A split of images whose every pass is another view: record `view × samples + index` is that view of a sample."""

    def __init__(
        self, split: Split, augment: Augment, shape: tuple[int, int, int], seed: int, mask: int | None = None
    ) -> None:
        """`shape` is (channels, height, width) of an image. Labels are left as they are, unless they are masks, which
        move with their images: `mask` is what comes in at their sides."""
        self._split = split
        self._crops, self._flips = "crop" in augment, "flip" in augment
        self._shape = shape
        self._seed = seed
        self._mask = mask
        self.samples = split.samples
        """Of one view."""
        self.record_bytes = split.record_bytes
        self.label_bytes = split.label_bytes

    def read_into(self, index: int, image: memoryview) -> Label:
        """Fill `image` with a view of a sample and return its label; raises as the split does."""
        view, sample = divmod(index, self.samples)
        label = self._split.read_into(sample, image)
        drawn = hashlib.sha256(f"{self._seed} view {view} {sample}".encode()).digest()
        down, right = (self._shift(extent, drawn[4 * at : 4 * at + 4]) for at, extent in enumerate(self._shape[1:]))
        flip = self._flips and drawn[8] % 2 == 1
        transform(image, self._shape, down, right, flip)
        if self._mask is None:
            return label
        moved = bytearray(label)
        transform(memoryview(moved), (1, *self._shape[1:]), down, right, flip, self._mask)
        return bytes(moved)

    def _shift(self, extent: int, drawn: bytes) -> int:
        if not self._crops:
            return 0
        most = max(1, extent // _CROPPED)
        return int.from_bytes(drawn, "little") % (2 * most + 1) - most

    def close(self) -> None:
        """Close the split."""
        self._split.close()


def transform(image: memoryview, shape: tuple[int, int, int], down: int, right: int, flip: bool, fill: int = 0) -> None:
    """Mirror an image (channels, height, width) of uint8 left to right where `flip`, then move it; `fill` comes in."""
    if not (down or right or flip):
        return
    channels, height, width = shape
    empty = bytes((fill,)) * width
    for channel in range(channels):
        plane = image[channel * height * width : (channel + 1) * height * width]
        # A row is read before it is written over: from the side that the image moves to.
        for row in range(height - 1, -1, -1) if down > 0 else range(height):
            source = row - down
            moved = bytes(plane[source * width : (source + 1) * width]) if 0 <= source < height else empty
            plane[row * width : (row + 1) * width] = _moved(moved[::-1] if flip else moved, right, fill)


def _moved(row: bytes, right: int, fill: int) -> bytes:
    if right > 0:
        return bytes((fill,)) * right + row[:-right]
    return row[-right:] + bytes((fill,)) * -right
