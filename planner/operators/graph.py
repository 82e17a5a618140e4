"""What an operator may ask of the ONNX graph that it is written into; `planner.export.onnx_builder` gives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from planner.operators.base import Shape


class Graph(Protocol):
    """A graph under construction. Values go by their names."""

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node of ONNX's operator `kind`; the name of its output."""

    def number(self, value: float) -> str:
        """A constant."""

    def averages(self, value: str, shape: Shape, windows: Sequence[Sequence[tuple[int, int, int]]]) -> str:
        """Means over windows of rows and of columns: first, last exclusive, and what the sum is divided by."""

    def maxima(self, value: str, spans: Sequence[Sequence[tuple[int, int]]]) -> str:
        """Maxima over windows of rows and of columns: first, last exclusive."""
