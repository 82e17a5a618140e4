"""Convolutions, and the linear layer, which is one without a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import AtenOperator, StricterThanTorch, Value, family, show_shape
from planner.operators.aten.shapes import (
    check_alike,
    check_filled,
    check_floating,
    check_rank,
    check_shape,
    elements,
    per_axis,
)


def _check(input: Value, weight: Value, bias: Value | None, spatial: int, outputs: int) -> None:
    """What every convolution asks of its tensors."""
    check_rank(weight, (spatial + 2,), "weight")
    if len(input.shape) == spatial + 1:
        raise StricterThanTorch(f"input is one sample without its samples' dimension: {show_shape(input.shape)}")
    check_rank(input, (spatial + 2,), "input")
    check_alike(input=input, weight=weight)
    if bias is not None and bias.dtype != input.dtype:
        raise StricterThanTorch(f"input is {input.dtype}, bias {bias.dtype}")
    check_shape(bias, (outputs,), "bias")
    check_floating(input, "input")
    check_filled(input, "input")
    check_filled(weight, "weight")


def _convolution(
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> Value:
    spatial = len(weight.shape) - 2
    _check(input, weight, bias, spatial, weight.shape[0] if spatial > 0 else 0)
    if groups < 1 or input.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(
            f"{groups} groups with weight {show_shape(weight.shape)} do not fit {input.shape[1]} channels of input"
        )
    stride = per_axis(stride, spatial, "stride", 1)
    dilation = per_axis(dilation, spatial, "dilation", 1)
    windows = [step * (extent - 1) + 1 for step, extent in zip(dilation, weight.shape[2:], strict=True)]
    if not isinstance(padding, str):
        around = [2 * pad for pad in per_axis(padding, spatial, "padding")]
    elif padding not in ("same", "valid"):
        raise ValueError(f"padding is {padding[:20]!r}; 'same' or 'valid' is needed")
    elif padding == "same" and max(stride) > 1:
        raise ValueError("padding 'same' needs a stride of 1")
    else:
        around = [window - 1 if padding == "same" else 0 for window in windows]
    extents: list[int] = []
    for place, window in enumerate(windows):
        room = input.shape[place + 2] + around[place]
        if window > room:
            raise ValueError(f"a window of {window} does not fit into {room} with its padding")
        extents.append((room - window) // stride[place] + 1)
    return Value((input.shape[0], weight.shape[0], *extents), input.dtype)


def _transposed(
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
) -> Value:
    spatial = len(weight.shape) - 2
    outputs = weight.shape[1] * groups if spatial > 0 else 0
    _check(input, weight, bias, spatial, outputs)
    if groups < 1 or input.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"{groups} groups with weight {show_shape(weight.shape)} do not fit {input.shape[1]} channels of input"
        )
    stride = per_axis(stride, spatial, "stride", 1)
    padding = per_axis(padding, spatial, "padding")
    output_padding = per_axis(output_padding, spatial, "output_padding")
    dilation = per_axis(dilation, spatial, "dilation", 1)
    extents: list[int] = []
    for place in range(spatial):
        if output_padding[place] >= max(stride[place], dilation[place]):
            raise ValueError(f"output_padding is {list(output_padding)}; it has to be below stride or dilation")
        window = dilation[place] * (weight.shape[place + 2] - 1) + 1
        start = (input.shape[place + 2] - 1) * stride[place] - 2 * padding[place]
        extents.append(start + window + output_padding[place])
    if min(extents) < 1:
        raise ValueError(f"its result would have extents {show_shape(extents)}")
    return Value((input.shape[0], outputs, *extents), input.dtype)


def _linear(input: Value, weight: Value, bias: Value | None) -> Value:
    if len(weight.shape) == 1:
        raise StricterThanTorch("weight is a row; a matrix of outputs and inputs is needed")
    check_rank(weight, (2,), "weight")
    check_alike(input=input, weight=weight, bias=bias)
    if not input.shape or input.shape[-1] != weight.shape[1]:
        raise ValueError(f"input {show_shape(input.shape)} does not end in the {weight.shape[1]} that weight takes")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise StricterThanTorch(f"bias has shape {show_shape(bias.shape)}, not ({weight.shape[0]},)")
    check_filled(input, "input")
    check_filled(weight, "weight")
    if input.dtype == "bool":
        raise ValueError("input is bool; numbers are needed")
    return Value((*input.shape[:-1], weight.shape[0]), input.dtype)


def _count(result: Value, weight: Value, **_: Any) -> int:
    return elements(result.shape) * elements(weight.shape[1:])


def _count_transposed(result: Value, input: Value, weight: Value, **_: Any) -> int:
    return elements(input.shape) * elements(weight.shape[1:])


def _forms(rank: int) -> tuple[AtenOperator, ...]:
    start = f"(Tensor input, Tensor weight, Tensor? bias=None, SymInt[{rank}] stride=1"
    ends = f"SymInt[{rank}] dilation=1, SymInt groups=1) -> Tensor"
    back = f"SymInt[{rank}] output_padding=0, SymInt groups=1, SymInt[{rank}] dilation=1) -> Tensor"
    transposed = f"conv_transpose{rank}d{'' if rank == 1 else '.input'}"
    return tuple(
        AtenOperator(signature, rule, extracts_features=True, count=count, kernels=("weight",))
        for signature, rule, count in (
            (f"conv{rank}d{start}, SymInt[{rank}] padding=0, {ends}", _convolution, _count),
            (f'conv{rank}d.padding{start}, str padding="valid", {ends}', _convolution, _count),
            (f"{transposed}{start}, SymInt[{rank}] padding=0, {back}", _transposed, _count_transposed),
        )
    )


OPERATORS = family(
    *_forms(1),
    *_forms(2),
    *_forms(3),
    AtenOperator(
        "linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
        _linear,
        count=_count,
        kernels=("weight",),
    ),
)
