"""From the description of a unit to its module: the only part of this package that needs torch, and torch alone.

A unit becomes an `nn.Sequential`, so its state dict has the names `<layer>.weight`, `<layer>.running_mean`, … with the
layer's index, and `<layer>.body.<layer>.weight`, `<layer>.shortcut.<layer>.weight` inside a residual. On storage they
are prefixed: `units.<unit's index>.<name>`.

Building costs exactly the parameters and buffers: storage is allocated once, not touched, and either initialised in
place from a generator of the caller's or left for weights to be loaded into. The global generator is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from planner.model.activations import Activations, each
from planner.model.bfloat16 import BFloat16Conv2d, BFloat16Linear
from planner.model.interpreter import GraphModule
from planner.model.shapes import Shape, layer_output, unit_sizes
from planner.operators.base import Weight
from planner.schema.common import Dtype
from planner.schema.model import Layer, Unit


def build_unit(
    unit: Unit, shape: Shape, generator: torch.Generator | None = None, dtype: Dtype = "float32"
) -> nn.Sequential:
    """The module of `unit`, whose input is `shape` per sample, with weights in float32 and in training mode.

    With `dtype` bfloat16 it computes in that wherever it runs, and its output is of that type.

    With a `generator` weights start as their operators say (`Operator.weights`), in the order of the chain, what lies
    within a layer first; equal generators give equal numbers. Without one the weights' storage holds anything: load it
    before use. Raises ModelError where a layer does not fit.
    """
    unit_sizes(unit, shape)
    module = _sequence(unit.layers, shape, generator, dtype)
    return _BFloat16Sequential(*module) if dtype == "bfloat16" else module


class _BFloat16Sequential(nn.Sequential):
    """A unit whose output is bfloat16, also where none of its layers makes that of its input."""

    def forward(self, x: Activations) -> Activations:
        for layer in self:
            x = layer(x)
        return each(x, lambda tensor: tensor.to(torch.bfloat16))


class _Conv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Left to `_start`: torch's own would draw from the global generator."""


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Left to `_start`: torch's own would draw from the global generator."""


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


_OWN: Mapping[Dtype, Mapping[str, Callable[..., nn.Module]]] = {
    "float32": {"Conv2d": _Conv2d, "Linear": _Linear, "Residual": _Residual, "GraphModule": GraphModule},
    "bfloat16": {
        "Conv2d": BFloat16Conv2d,
        "Linear": BFloat16Linear,
        "Residual": _Residual,
        "GraphModule": partial(GraphModule, dtype=torch.bfloat16),
    },
}
"""Classes of ours in place of those in `torch.nn`."""


def _sequence(
    layers: tuple[Layer, ...], shape: Shape, generator: torch.Generator | None, dtype: Dtype
) -> nn.Sequential:
    modules: list[nn.Module] = []
    may_overwrite = False
    for layer in layers:
        modules.append(_module(layer, shape, generator, dtype, may_overwrite=may_overwrite))
        shape = layer_output(layer, shape)
        may_overwrite = layer.overwritable
    return nn.Sequential(*modules)


def _module(
    layer: Layer, shape: Shape, generator: torch.Generator | None, dtype: Dtype, *, may_overwrite: bool
) -> nn.Module:
    name = next(kind for op, kind, *_ in layer.in_torch if op == layer.op)
    arguments = dict(layer.arguments(shape))
    if layer.overwrites():
        arguments["inplace"] = may_overwrite
    for part, chain in layer.chains().items():
        arguments[part] = _sequence(chain, shape, generator, dtype)
    kind = _OWN[dtype].get(name) or getattr(nn, name)
    module: nn.Module = kind(**arguments)
    if generator is not None:
        _start(module, layer.weights(shape), generator)
    return module


@torch.no_grad()
def _start(module: nn.Module, weights: tuple[Weight, ...], generator: torch.Generator) -> None:
    """Fill a module's own weights."""
    tensors = module.state_dict(keep_vars=True)
    for weight in weights:
        tensor = tensors[weight.name]
        match weight.start:
            case "normal", float(deviation):
                tensor.normal_(0.0, deviation, generator=generator)
            case "uniform", float(bound):
                tensor.uniform_(-bound, bound, generator=generator)
            case "constant", float(value):
                tensor.fill_(value)
            case "values", tuple(values):
                tensor.copy_(torch.tensor(values, dtype=tensor.dtype).reshape(tensor.shape))
