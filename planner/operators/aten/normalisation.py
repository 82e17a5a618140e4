"""Normalisation of activations and of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import AtenOperator, StricterThanTorch, Value, family, show_shape
from planner.operators.aten.shapes import axis, check_alike, check_filled, check_floating, check_shape, elements


def _check_types(input: Value, *others: Value | None) -> None:
    """Its own tensors have the input's type, or float32 where the input has 16 bits."""
    check_floating(input, "input")
    check_filled(input, "input")
    for other in others:
        if other is not None and other.dtype != input.dtype and (other.dtype != "float32" or "16" not in input.dtype):
            raise StricterThanTorch(f"input is {input.dtype}, one of its own tensors {other.dtype}")
    if len({other.dtype for other in others if other is not None}) > 1:
        raise StricterThanTorch("its own tensors are of several types")


def _channels(input: Value, **own: Value | None) -> int:
    check_filled(input, "input")
    if len(input.shape) < 2:
        raise ValueError(f"input has shape {show_shape(input.shape)}; samples and channels are needed")
    for name, value in own.items():
        if value is not None and value.shape != input.shape[1:2] and elements(value.shape) == input.shape[1]:
            raise StricterThanTorch(f"{name} has shape {show_shape(value.shape)}, not ({input.shape[1]},)")
        check_shape(value, (input.shape[1],), name)
    _check_types(input, *own.values())
    return input.shape[1]


def _batch_norm(
    input: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    training: bool,
    **_: Any,
) -> Value:
    _channels(input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    _check_running(running_mean, running_var, training)
    return input


def _check_running(running_mean: Value | None, running_var: Value | None, own: bool) -> None:
    if not own and (running_mean is None or running_var is None):
        raise ValueError("running_mean and running_var are needed where it takes none of the samples' own")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var come together")


def _instance_norm(
    input: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    use_input_stats: bool,
    **_: Any,
) -> Value:
    _channels(input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    _check_running(running_mean, running_var, use_input_stats)
    return input


def _group_norm(input: Value, num_groups: int, weight: Value | None, bias: Value | None, **_: Any) -> Value:
    channels = _channels(input, weight=weight, bias=bias)
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"{channels} channels do not make {num_groups} groups")
    return input


def _layer_norm(
    input: Value, normalized_shape: Sequence[int], weight: Value | None, bias: Value | None = None, **_: Any
) -> Value:
    wanted = tuple(normalized_shape)
    if not wanted:
        raise ValueError("normalized_shape is empty")
    if input.shape[-len(wanted) :] != wanted:
        raise ValueError(f"input {show_shape(input.shape)} does not end in normalized_shape {show_shape(wanted)}")
    check_shape(weight, wanted, "weight")
    check_shape(bias, wanted, "bias")
    _check_types(input, weight, bias)
    return input


def _rms_norm(input: Value, normalized_shape: Sequence[int], weight: Value | None, eps: float | None) -> Value:
    if weight is not None and weight.dtype != input.dtype:
        raise StricterThanTorch(f"input is {input.dtype}, weight {weight.dtype}: its result would be of another type")
    return _layer_norm(input, normalized_shape, weight)


def _weight_norm(v: Value, g: Value, dim: int) -> Value:
    check_floating(v, "v")
    check_alike(v=v, g=g)
    check_filled(v, "v")
    if not v.shape:
        raise StricterThanTorch("v has no dimensions")
    place = axis(dim, len(v.shape))
    norms = tuple(extent if at == place else 1 for at, extent in enumerate(v.shape))
    if g.shape != norms:
        raise StricterThanTorch(f"g has shape {show_shape(g.shape)}, not {show_shape(norms)}")
    return v


def _count_batch_norm(result: Value, weight: Value | None, training: bool, **_: Any) -> int:
    """With statistics that are known, a scale and a shift."""
    return _count(result, weight) if training else elements(result.shape) * (1 if weight is None else 2)


def _count(result: Value, weight: Value | None, **_: Any) -> int:
    return elements(result.shape) * (4 if weight is None else 5)


_RUNNING = "(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool"
_REST = "float momentum, float eps, bool cudnn_enabled) -> Tensor"

OPERATORS = family(
    AtenOperator(
        f"batch_norm{_RUNNING} training, {_REST}", _batch_norm, depends_on_batch=True, count=_count_batch_norm
    ),
    AtenOperator(f"instance_norm{_RUNNING} use_input_stats, {_REST}", _instance_norm, count=_count),
    AtenOperator(
        "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, "
        "float eps=1.0000000000000001e-05, bool cudnn_enabled=True) -> Tensor",
        _group_norm,
        count=_count,
    ),
    AtenOperator(
        "layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, Tensor? bias=None, "
        "float eps=1.0000000000000001e-05, bool cudnn_enable=True) -> Tensor",
        _layer_norm,
        count=_count,
    ),
    AtenOperator(
        "rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
        _rms_norm,
        count=_count,
    ),
    AtenOperator("_weight_norm(Tensor v, Tensor g, int dim=0) -> Tensor", _weight_norm),
)
