"""Pooling, over windows and over what is left to their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import AtenOperator, Rule, StricterThanTorch, Value, family, show_shape
from planner.operators.aten.shapes import check_filled, check_gradient, check_rank, elements, per_axis


def _windows(
    self: Value,
    spatial: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    dilation: Sequence[int] = (1,),
) -> Value:
    """What pooling over windows gives. With `ceil_mode` the last may reach beyond the end, but must begin before."""
    check_rank(self, (spatial + 1, spatial + 2))
    check_filled(self)
    kernel_size = per_axis(kernel_size, spatial, "kernel_size", 1)
    stride = per_axis(stride, spatial, "stride", 1) if stride else kernel_size
    padding = per_axis(padding, spatial, "padding")
    dilation = per_axis(dilation, spatial, "dilation", 1)
    extents: list[int] = []
    for extent, kernel, step, pad, spread in zip(
        self.shape[-spatial:], kernel_size, stride, padding, dilation, strict=True
    ):
        window = spread * (kernel - 1) + 1
        if pad > window // 2:
            raise ValueError(f"padding is {pad}; at most half of the window, {window // 2}, is possible")
        count = (extent + 2 * pad - window + (step - 1 if ceil_mode else 0)) // step + 1
        if ceil_mode and (count - 1) * step >= extent + pad:
            count -= 1
        if count < 1:
            raise ValueError(f"a window of {window} does not fit into {show_shape(self.shape[-spatial:])}")
        extents.append(count)
    return Value((*self.shape[:-spatial], *extents), self.dtype)


def _max(spatial: int, indices: bool) -> Rule:
    def rule(self: Value, **given: Any) -> Value | tuple[Value, ...]:
        check_gradient(self)
        result = _windows(self, spatial, **given)
        return (result, Value(result.shape, "int64")) if indices else result

    return rule


def _average(spatial: int) -> Rule:
    def rule(self: Value, count_include_pad: bool, divisor_override: int | None = None, **given: Any) -> Value:
        check_gradient(self)
        if divisor_override == 0:
            raise ValueError("divisor_override is 0")
        result = _windows(self, spatial, **given)
        if spatial == 3 and any(
            kernel > extent for kernel, extent in zip(given["kernel_size"], self.shape[-3:], strict=False)
        ):
            raise ValueError(f"a window of {given['kernel_size']} is larger than {show_shape(self.shape[-3:])}")
        return result

    return rule


def _adaptive(spatial: int, indices: bool) -> Rule:
    def rule(self: Value, output_size: Sequence[int]) -> Value | tuple[Value, ...]:
        check_gradient(self)
        if set(output_size) == {1} and len(self.shape) not in (spatial + 1, spatial + 2):
            raise StricterThanTorch(f"self has shape {show_shape(self.shape)}; it is no image")
        check_rank(self, (spatial + 1, spatial + 2))
        check_filled(self)
        if min(output_size, default=1) == 0:
            raise StricterThanTorch(f"output_size is {list(output_size)}; numbers above 0 are needed")
        if len(output_size) != spatial or min(output_size) < 0:
            raise ValueError(f"output_size is {list(output_size)}; {spatial} numbers above 0 are needed")
        result = Value((*self.shape[:-spatial], *output_size), self.dtype)
        return (result, Value(result.shape, "int64")) if indices else result

    return rule


def _count_averages(result: Value, self: Value, **_: Any) -> int:
    return elements(self.shape)


def _forms(n: int) -> tuple[AtenOperator, ...]:
    start = f"(Tensor self, int[{n}] kernel_size, int[{n}] stride=[], int[{n}] padding=0"
    largest = f"{start}, int[{n}] dilation=1, bool ceil_mode=False) -> "
    average = f"{start}, bool ceil_mode=False, bool count_include_pad=True"
    average += "" if n == 1 else ", int? divisor_override=None"
    size = f"(Tensor self, SymInt[{n}] output_size) -> "
    return (
        AtenOperator(f"max_pool{n}d{largest}Tensor", _max(n, False)),
        AtenOperator(f"max_pool{n}d_with_indices{largest}(Tensor, Tensor)", _max(n, True)),
        AtenOperator(f"avg_pool{n}d{average}) -> Tensor", _average(n)),
        AtenOperator(f"adaptive_avg_pool{n}d{size}Tensor", _adaptive(n, False), count=_count_averages),
        AtenOperator(f"adaptive_max_pool{n}d{size}(Tensor, Tensor)", _adaptive(n, True)),
    )


OPERATORS = family(*_forms(1), *_forms(2), *_forms(3))
