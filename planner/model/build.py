"""From the description of a unit to its module: the only part of this package that needs torch, and torch alone.

A unit becomes an `nn.Sequential`, so its state dict has the names `<layer>.weight`, `<layer>.running_mean`, … with the
layer's index, and `<layer>.body.<layer>.weight`, `<layer>.shortcut.<layer>.weight` inside a residual. On storage they
are prefixed: `units.<unit's index>.<name>`.

Building costs exactly the parameters and buffers: storage is allocated once, not touched, and either initialised in
place from a generator of the caller's or left for weights to be loaded into. The global generator is never used.
"""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from planner.model.half import HalfConv2d, HalfLinearLayer
from planner.model.shapes import Shape, layer_output, unit_sizes
from planner.schema.common import Dtype
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Pool2d,
    Residual,
    Unit,
)

_OVERWRITABLE = (Conv2d, Linear, BatchNorm2d, Residual)
"""Layers whose output is a tensor of its own that their backward does not look at: the next layer may overwrite it."""


def build_unit(
    unit: Unit, shape: Shape, generator: torch.Generator | None = None, dtype: Dtype = "float32"
) -> nn.Sequential:
    """The module of `unit`, whose input is `shape` per sample, with weights in float32 and in training mode.

    With `dtype` bfloat16 it computes in that wherever it runs, and its output is of that type.

    With a `generator`: convolutions start as He et al. (2015) propose for rectifiers, from N(0, 2 / fan-out), linear
    layers from U(±1/√fan-in), biases at 0, normalisations at scale 1 and shift 0; equal generators give equal numbers.
    Without one the weights' storage holds anything: load it before use. Raises ModelError where a layer does not fit.
    """
    unit_sizes(unit, shape)
    module = _sequence(unit.layers, shape, dtype)
    if dtype == "bfloat16":
        module = _Half(*module)
    if generator is not None:
        _initialise(module, generator)
    return module


class _Half(nn.Sequential):
    """A unit whose output is bfloat16, also where none of its layers makes that of its input."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x.to(torch.bfloat16)


class _Conv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Left to `_initialise`: torch's own would draw from the global generator."""


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Left to `_initialise`: torch's own would draw from the global generator."""


class _Residual(nn.Module):
    """`body(x) + shortcut(x)`, added into the body's output where that may be overwritten."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential, *, inplace: bool) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.body(x)
        return output.add_(self.shortcut(x)) if self.inplace else output + self.shortcut(x)


def _sequence(layers: tuple[Layer, ...], shape: Shape, dtype: Dtype) -> nn.Sequential:
    modules: list[nn.Module] = []
    before: Layer | None = None
    for layer in layers:
        modules.append(_module(layer, shape, dtype, inplace=isinstance(before, _OVERWRITABLE)))
        shape = layer_output(layer, shape)
        before = layer
    return nn.Sequential(*modules)


def _module(layer: Layer, shape: Shape, dtype: Dtype, *, inplace: bool) -> nn.Module:
    match layer:
        case Conv2d():
            return (_Conv2d if dtype == "float32" else HalfConv2d)(
                shape[0],
                layer.out_channels,
                layer.kernel,
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                bias=layer.bias,
            )
        case Linear():
            return (_Linear if dtype == "float32" else HalfLinearLayer)(shape[0], layer.out_features, bias=layer.bias)
        case BatchNorm2d():
            return nn.BatchNorm2d(shape[0], eps=layer.eps, momentum=layer.momentum)
        case Activation():
            return _activation(layer, inplace=inplace)
        case Pool2d():
            pool = nn.MaxPool2d if layer.op == "max_pool2d" else nn.AvgPool2d
            return pool(layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
        case AdaptivePool2d():
            adaptive = nn.AdaptiveAvgPool2d if layer.op == "adaptive_avg_pool2d" else nn.AdaptiveMaxPool2d
            return adaptive((layer.height, layer.width))
        case Dropout():
            return nn.Dropout(layer.p)
        case Flatten():
            return nn.Flatten()
        case Residual():
            body, shortcut = _sequence(layer.body, shape, dtype), _sequence(layer.shortcut, shape, dtype)
            return _Residual(body, shortcut, inplace=isinstance(layer.body[-1], _OVERWRITABLE))
    assert_never(layer)


def _activation(layer: Activation, *, inplace: bool) -> nn.Module:
    match layer.op:
        case "relu":
            return nn.ReLU(inplace=inplace)
        case "relu6":
            return nn.ReLU6(inplace=inplace)
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
    assert_never(layer.op)


@torch.no_grad()
def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Fill the weights in the order of the chain, bodies before shortcuts. Normalisations come initialised."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.out_channels * math.prod(part.kernel_size)
            part.weight.normal_(0.0, math.sqrt(2 / fan_out), generator=generator)
        elif isinstance(part, nn.Linear):
            bound = 1 / math.sqrt(part.in_features)
            part.weight.uniform_(-bound, bound, generator=generator)
        else:
            continue
        if part.bias is not None:
            part.bias.zero_()
