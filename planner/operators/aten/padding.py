"""Padding, and windows laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import (
    AtenOperator,
    Rule,
    StricterThanTorch,
    Value,
    family,
    show_shape,
)
from planner.operators.aten.shapes import (
    axis,
    check_filled,
    check_gradient,
    check_holds,
    check_rank,
    elements,
    per_axis,
    replaced,
)


def _pad(self: Value, pad: Sequence[int], mode: str, value: float | None) -> Value:
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(f"mode is {mode[:20]!r}; 'constant', 'reflect', 'replicate' or 'circular' is needed")
    if len(pad) % 2 or len(pad) > 2 * len(self.shape):
        raise ValueError(f"pad has {len(pad)} numbers; 2 for each dimension, from the last on, are needed")
    shape = list(self.shape)
    for place in range(len(pad) // 2):
        shape[-1 - place] += pad[2 * place] + pad[2 * place + 1]
    if mode == "constant":
        check_holds(self.dtype, value or 0, "value")
        cut = (min(pad[at], 0) + min(pad[at + 1], 0) for at in range(0, len(pad), 2))
        if any(extent + less < 0 for extent, less in zip(self.shape[::-1], cut, strict=False)):
            raise ValueError(f"pad {show_shape(pad)} leaves less than nothing of {show_shape(self.shape)}")
        return Value(tuple(shape), self.dtype)
    if value not in (None, 0):
        raise ValueError(f"value goes with mode 'constant', not with {mode!r}")
    return _pad_from_inside(self, pad, mode, shape)


def _pad_from_inside(self: Value, pad: Sequence[int], mode: str, shape: list[int]) -> Value:
    check_filled(self)
    check_gradient(self)
    spatial = len(pad) // 2
    if not 1 <= spatial <= 3:
        raise ValueError(f"pad has {len(pad)} numbers; 2, 4 or 6 are possible with mode {mode!r}")
    check_rank(self, (spatial + 1, spatial + 2))
    for place, extent in enumerate(self.shape[: -spatial - 1 : -1]):
        most = {"reflect": extent - 1, "circular": extent}.get(mode)
        if most is not None and max(pad[2 * place : 2 * place + 2]) > most:
            raise ValueError(f"pad is {show_shape(pad)}; mode {mode!r} takes at most {most} beside {extent}")
    if min(pad) < 0:
        raise StricterThanTorch(f"pad is {show_shape(pad)}; mode {mode!r} is for padding, not for cutting")
    return Value(tuple(shape), self.dtype)


def _constant_pad(self: Value, pad: Sequence[int], value: float) -> Value:
    return _pad(self, pad, "constant", value)


def _unfold(self: Value, dimension: int, size: int, step: int) -> Value:
    place = axis(dimension, len(self.shape), "dimension")
    extent = self.shape[place] if self.shape else 1
    if not 0 <= size <= extent or step < 1:
        raise ValueError(f"windows of {size}, {step} apart, do not lie in {extent}")
    if not self.shape:
        return Value((size,), self.dtype)
    return Value((*replaced(self.shape, place, (extent - size) // step + 1), size), self.dtype)


def _columns(
    rows_and_columns: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> tuple[int, int]:
    """Numbers in one window, and windows in an image."""
    for name, values, low in (
        ("kernel_size", kernel_size, 1),
        ("dilation", dilation, 1),
        ("padding", padding, 0),
        ("stride", stride, 1),
    ):
        if len(values) != 2:
            raise ValueError(f"{name} has {len(values)} numbers; 2 are needed")
        per_axis(values, 2, name, low)
    counts = [
        (extent + 2 * pad - (spread * (kernel - 1) + 1)) // step + 1
        for extent, kernel, spread, pad, step in zip(
            rows_and_columns, kernel_size, dilation, padding, stride, strict=True
        )
    ]
    if min(counts) < 1:
        raise ValueError(f"no window fits into {show_shape(rows_and_columns)}")
    return elements(tuple(kernel_size)), elements(tuple(counts))


def _im2col(self: Value, **given: Any) -> Value:
    check_gradient(self)
    check_rank(self, (3, 4))
    check_filled(self)
    *rest, channels, rows, columns = self.shape
    window, windows = _columns((rows, columns), **given)
    return Value((*rest, channels * window, windows), self.dtype)


def _col2im(self: Value, output_size: Sequence[int], **given: Any) -> Value:
    check_gradient(self)
    check_rank(self, (2, 3))
    check_filled(self)
    if len(output_size) != 2 or min(output_size) < 1:
        raise ValueError(f"output_size is {show_shape(output_size)}; 2 numbers above 0 are needed")
    window, windows = _columns(output_size, **given)
    *rest, rows, columns = self.shape
    if rows % window or columns != windows:
        raise ValueError(f"{show_shape(self.shape)} is not {windows} windows of a multiple of {window}")
    return Value((*rest, rows // window, *output_size), self.dtype)


_VIEW = "Tensor(a) self"
_PARTS = "Tensor(a -> *) self"

_TABLE: tuple[tuple[str, Rule], ...] = (
    (f"unfold({_VIEW}, int dimension, int size, int step) -> Tensor(a)", _unfold),
    ('pad(Tensor self, SymInt[] pad, str mode="constant", float? value=None) -> Tensor', _pad),
    ("constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor", _constant_pad),
    ("im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor", _im2col),
    (
        "col2im(Tensor self, SymInt[2] output_size, int[2] kernel_size, int[2] dilation, int[2] padding, "
        "int[2] stride) -> Tensor",
        _col2im,
    ),
)

OPERATORS = family(*(AtenOperator(signature, rule) for signature, rule in _TABLE))
