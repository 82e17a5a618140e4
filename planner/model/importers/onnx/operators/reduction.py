"""Sums, means and extremes along axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from planner.model.importers.onnx.operators.base import Call, Importer, axes_of, axis_of, check_apart
from planner.model.importers.onnx.values import Tensor

Reduce = Callable[[Call, Tensor, list[int], bool], Tensor]


def _axes(c: Call, rank: int) -> list[int]:
    """Those it goes along, named by an attribute or, later, by an input."""
    found = c.wholes(1) if c.given(1) else c.ints("axes", [])
    if not found:
        return [] if c.whole("noop_with_empty_axes", 0) else list(range(rank))
    return axes_of(found, rank)


def _along(reduce: Reduce) -> Importer:
    def read(c: Call) -> Tensor:
        x = c.tensor()
        axes = _axes(c, x.rank)
        check_apart(x, axes, "goes")
        return reduce(c, x, axes, bool(c.whole("keepdims", 1))) if axes else x

    return read


def _plain(operator: str) -> Reduce:
    def reduce(c: Call, x: Tensor, axes: list[int], keep: bool) -> Tensor:
        return c(operator, x, axes, keep)

    return reduce


def _mean(c: Call, x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Over all of an image it is a pooling, which a classifier begins with."""
    if keep and x.rank == 4 and axes == [2, 3]:
        return c("adaptive_avg_pool2d", x, [1, 1])
    return c("mean.dim", x, axes, keep)


def _of(before: str, operator: str, after: str = "") -> Reduce:
    def reduce(c: Call, x: Tensor, axes: list[int], keep: bool) -> Tensor:
        found = c(operator, c(before, x), axes, keep)
        return c(after, found) if after else found

    return reduce


def _log_sum(c: Call, x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return c("log", c("sum.dim_IntList", x, axes, keep))


def _length(c: Call, x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return c("linalg_vector_norm", x, 2, axes, keep)


def _product(c: Call, x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = c("prod.dim_int", x, axis, keep)
    return x


def _place(operator: str) -> Importer:
    def read(c: Call) -> Tensor:
        x = c.tensor()
        axis = axis_of(c.whole("axis", 0), x.rank)
        check_apart(x, [axis], "goes")
        return c(operator, x, axis, bool(c.whole("keepdims", 1)))

    return read


def _cumulative_sum(c: Call) -> Tensor:
    x = c.tensor()
    if c.whole("exclusive", 0) or c.whole("reverse", 0):
        raise ValueError("exclusive and reverse are not known here")
    (axis,) = c.wholes(1)
    check_apart(x, [axis_of(axis, x.rank)], "goes")
    return c("cumsum", x, axis_of(axis, x.rank))


def _largest(c: Call) -> list[Tensor]:
    x = c.tensor()
    axis = axis_of(c.whole("axis", -1), x.rank)
    check_apart(x, [axis], "goes")
    (count,) = c.wholes(1)
    return c.several("topk", x, count, axis, bool(c.whole("largest", 1)), bool(c.whole("sorted", 1)))


IMPORTERS: Mapping[str, Importer] = {
    "ReduceMean": _along(_mean),
    "ReduceSum": _along(_plain("sum.dim_IntList")),
    "ReduceMax": _along(_plain("amax")),
    "ReduceMin": _along(_plain("amin")),
    "ReduceProd": _along(_product),
    "ReduceL1": _along(_of("abs", "sum.dim_IntList")),
    "ReduceL2": _along(_length),
    "ReduceSumSquare": _along(_of("square", "sum.dim_IntList")),
    "ReduceLogSum": _along(_log_sum),
    "ReduceLogSumExp": _along(_plain("logsumexp")),
    "ArgMax": _place("argmax"),
    "ArgMin": _place("argmin"),
    "CumSum": _cumulative_sum,
    "TopK": _largest,
}
