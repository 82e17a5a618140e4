"""A head as a unit behind others: described, sized, built and exported like any."""

from __future__ import annotations

from planner.heads.base import Head
from planner.model.shapes import Shape
from planner.schema.model import Unit


def head_unit(head: Head, shape: Shape, output: Shape) -> Unit:
    """The unit that `head` is behind one whose output is `shape` (per sample), to give `output`."""
    return Unit("head", head.layers(shape, output))
