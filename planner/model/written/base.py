"""What a written layer says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.model.graph_builder import GraphBuilder, Var
from planner.operators.base import Operator, Shape, between, show

Sides = int | tuple[int, ...]
"""Of a window: one number for all of its extents, or one for each."""


class Written(Operator):
    """Base of the written layers' dataclasses."""

    overwritable = True

    def plain(self, shape: Shape) -> Operator | None:
        """The operator of networks that it is another way to write, where it is one."""
        return None

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        """Write it into a unit: its output.

        Args:
            g: the unit.
            x: what comes in, samples included.
            name: what its tensors' names begin with.
            is_free: whether nobody else needs what comes in, so that it may be overwritten.

        Raises:
            ValueError: it does not fit what comes in.
        """
        raise NotImplementedError


def sample(x: Var) -> Shape:
    """The shape of one sample."""
    return x.shape[1:]


def sides(name: str, value: Sides, rank: int) -> list[int]:
    """One number for each extent. Raises ValueError."""
    if isinstance(value, int):
        return [value] * rank
    if len(value) != rank:
        raise ValueError(f"{name} has {len(value)} numbers; 1 or {rank} are needed")
    return list(value)


def check_sides(name: str, value: Sides, low: int, high: int) -> None:
    """Raise ValueError unless each of the numbers lies there."""
    for each in _numbers(value):
        between(name, each, low, high)


def _numbers(value: Sides) -> Iterable[int]:
    return [value] if isinstance(value, int) else value


def is_square(*values: Sides) -> bool:
    """Whether each is one number."""
    return all(len(set(_numbers(value))) == 1 for value in values)


def one(value: Sides) -> int:
    """The number of one that is."""
    return next(iter(_numbers(value)))


def check_rank(x: Var, rank: int) -> None:
    """Raise ValueError unless there are channels and so many extents."""
    if len(x.shape) != rank + 2:
        extents = ("length", "rows and columns", "depth, rows and columns")[rank - 1]
        raise ValueError(f"needs channels and {extents}, has {show(sample(x))}")


def check_sequence(x: Var) -> None:
    """Raise ValueError unless there are steps and features."""
    if len(x.shape) != 3:
        raise ValueError(f"needs steps and features, has {show(sample(x))}")


def axes(dims: Sequence[int], rank: int, name: str) -> list[int]:
    """Dimensions of a sample, counted from 0 or from the end, with the samples in front. Raises ValueError."""
    for dim in dims:
        between(name, dim, -rank, rank - 1)
    return [dim % rank + 1 for dim in dims]
