"""The closed list of heads, and which of them a profile measures."""

from __future__ import annotations

from planner.heads.convolution import FILTERS, ConvHead
from planner.heads.dense import PixelHead, PlaceHead
from planner.heads.pooled import PooledHead

AuxiliaryHead = ConvHead | PixelHead | PlaceHead
"""A head that is trained with the segment in front of it: the union of their classes."""

ExitHead = AuxiliaryHead | PooledHead
"""What a smaller model may end in."""

MEASURED_HEADS: tuple[AuxiliaryHead, ...] = (
    *(ConvHead("auxiliary", filters) for filters in FILTERS),
    PixelHead("pixel"),
    PlaceHead("place"),
)
"""Auxiliary heads that a profile measures behind every unit where they fit, the preferred first."""
