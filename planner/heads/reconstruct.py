"""A classifier, and beside it a decoder that makes what the segment was given: what is not yet of use is kept.

InfoPro's softmax variant (arXiv 2101.10832): the two losses are weighted by depth, reconstruction falling and
classification rising linearly from the first cut to the last. There the decoder makes the network's input picture,
whatever the depth, and the loss is binary cross-entropy. Here it makes the segment's own input, since caches between
blocks hold no pictures: averaged to as many maps and as few positions as every segment's input can be, so that what it
costs does not depend on where the segment begins; and the loss is the mean square over the target's own variance, since
activations have no range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from planner.heads.base import Head, HeadKind, Place
from planner.heads.convolution import ConvHead
from planner.operators.activation import Activation
from planner.operators.base import Shape, between
from planner.operators.convolution import Conv2d
from planner.operators.layers import Layer
from planner.operators.normalisation import BatchNorm2d
from planner.operators.pooling import AdaptivePool2d

MAPS = 12
"""Maps that are decoded, and filters of the decoder's hidden convolution."""

_EXTENT = 16
"""Rows and columns that are decoded, at most."""

_FIRST = (2.0, 0.5)
_LAST = (0.1, 1.0)
"""Weights of reconstruction and task at the first cut that there may be, and at the last."""

_DIGITS = 4
_MOST_WEIGHT = 1000.0


@dataclass(frozen=True)
class ReconstructHead(Head):
    """The usual convolutional head, and while training a decoder of two convolutions."""

    kind: Literal["reconstruct"]
    filters: int
    """Filters of the classifier's convolution."""
    reconstruction_weight: float = _FIRST[0]
    """Of the decoder's loss."""
    task_weight: float = _FIRST[1]
    """Of the classifier's."""

    asked_as: ClassVar[HeadKind | None] = "reconstruct"

    def __post_init__(self) -> None:
        between("filters", self.filters, 1, 4096)
        between("reconstruction_weight", self.reconstruction_weight, 0, _MOST_WEIGHT)
        between("task_weight", self.task_weight, 0, _MOST_WEIGHT)

    @property
    def depends_on_batch(self) -> bool:
        return True

    @property
    def rank(self) -> int:
        return self.filters

    @property
    def words(self) -> str:
        return f"{self.filters} filters, decoder"

    def fits(self, shape: Shape, output: Shape) -> bool:
        return super().fits(shape, output) and len(shape) == 3

    def placed(self, place: Place) -> Self | None:
        """With weights by depth, where all that a segment may be given are images."""
        if any(len(shape) != 3 for shape in place.shapes[: place.boundary + 1]):
            return None
        depth = (place.boundary - 1) / max(1, len(place.units) - 2)
        weights = [round(first + depth * (last - first), _DIGITS) for first, last in zip(_FIRST, _LAST, strict=True)]
        found = replace(self, reconstruction_weight=weights[0], task_weight=weights[1])
        return found if found.fits(place.shape, place.output) else None

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        """The classifier, which is all that answers, and all that an exit has of it."""
        return ConvHead("auxiliary", self.filters).layers(shape, output)

    def decoder(self, shape: Shape) -> tuple[Layer, ...]:
        if len(shape) != 3:
            raise ValueError("a decoder stands behind images alone")
        extents = tuple(min(extent, _EXTENT) for extent in shape[1:])
        pooled = () if extents == shape[1:] else (AdaptivePool2d("adaptive_avg_pool2d", *extents),)
        hidden = (Conv2d("conv2d", MAPS, 3, padding=1, bias=False), BatchNorm2d("batchnorm2d"), Activation("relu"))
        return (*pooled, *hidden, Conv2d("conv2d", MAPS, 3, padding=1))
