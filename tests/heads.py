"""Heads, told by their filters alone."""

from __future__ import annotations

from collections.abc import Sequence

from planner.heads.base import Head
from planner.heads.convolution import ConvHead


def conv_heads(*filters: int) -> tuple[ConvHead, ...]:
    """Auxiliary heads of so many filters each."""
    return tuple(ConvHead("auxiliary", count) for count in filters)


def heads(*filters: int) -> tuple[ConvHead | None, ...]:
    """The same; 0 is the model's own classifier."""
    return tuple(ConvHead("auxiliary", count) if count else None for count in filters)


def filters_of(found: Sequence[Head | None]) -> tuple[int, ...]:
    """The filters of `heads`."""
    return tuple(head.rank if head else 0 for head in found)
