"""The same networks built a second time, plainly: torch's own layers, nothing in place, nothing inferred by us."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from planner.operators.unit_graph import UnitGraph
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
)


class Rejected(Exception):
    """A layer does not fit its input, by torch's judgement or where `model/1` is stricter than torch."""


class _FlatLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise Rejected("torch would apply a linear layer to the last dimension")
        return super().forward(x)


class _PlainResidual(nn.Module):
    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        body, shortcut = self.body(x), self.shortcut(x)
        if body.shape != shortcut.shape:
            raise Rejected("torch would broadcast")
        return torch.add(body, shortcut)


def build(layers: Iterable[Layer], x: Tensor) -> tuple[nn.Sequential, Tensor]:
    """The module of a chain and its output for `x`; widths of inputs are read off the tensors that flow.

    Raises Rejected where a layer does not fit.
    """
    modules: list[nn.Module] = []
    for layer in layers:
        try:
            module = _module(layer, x)
            x = module(x)
        except (RuntimeError, ValueError, IndexError) as error:
            raise Rejected(str(error)) from error
        modules.append(module)
    return nn.Sequential(*modules), x


def _module(layer: Layer, x: Tensor) -> nn.Module:
    match layer:
        case Conv2d():
            if x.dim() != 4:
                raise Rejected("torch would take a missing dimension for a missing batch")
            groups, bias = layer.groups, layer.bias
            return nn.Conv2d(
                x.shape[1], layer.out_channels, layer.kernel, layer.stride, layer.padding, groups=groups, bias=bias
            )
        case Linear():
            return _FlatLinear(x.shape[-1], layer.out_features, layer.bias)
        case BatchNorm2d():
            return nn.BatchNorm2d(x.shape[1], layer.eps, layer.momentum)
        case Activation():
            activations: dict[str, type[nn.Module]] = {
                "relu": nn.ReLU, "relu6": nn.ReLU6, "gelu": nn.GELU, "silu": nn.SiLU
            }  # fmt: skip
            return activations[layer.op]()
        case Pool2d(op="max_pool2d"):
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
        case Pool2d():
            return nn.AvgPool2d(layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
        case AdaptivePool2d(op="adaptive_max_pool2d"):
            return nn.AdaptiveMaxPool2d((layer.height, layer.width))
        case AdaptivePool2d():
            return nn.AdaptiveAvgPool2d((layer.height, layer.width))
        case Dropout():
            return nn.Dropout(layer.p)
        case Flatten():
            return nn.Flatten()
        case Residual():
            return _PlainResidual(build(layer.body, x)[0], build(layer.shortcut, x)[0])
        case UnitGraph():
            raise NotImplementedError  # `planner.model.importers` proves these on the networks that they come from
