"""The closed list of heads, and which of them a profile measures."""

from __future__ import annotations

from planner.heads.convolution import FILTERS, ConvHead
from planner.heads.pooled import PooledHead

AuxiliaryHead = ConvHead
"""A head that is trained with the segment in front of it: the union of their classes."""

ExitHead = AuxiliaryHead | PooledHead
"""What a smaller model may end in."""

MEASURED_HEADS: tuple[AuxiliaryHead, ...] = tuple(ConvHead("auxiliary", filters) for filters in FILTERS)
"""Auxiliary heads that a profile measures behind every unit, the preferred first."""
