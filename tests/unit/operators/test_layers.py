"""Every operator holds what it says of itself: each has an example here, and torch is the judge."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import torch
from torch import nn

from planner.model.build import build_unit
from planner.model.importers.layers import known_type, layer_from
from planner.operators.base import Shape
from planner.operators.layers import OPERATORS, every_layer
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

IMAGE: Shape = (4, 9, 11)
CONV = Conv2d("conv2d", 6, 3, stride=2, padding=1, groups=2, bias=False)
EXAMPLES: tuple[tuple[Layer, Shape], ...] = (
    (CONV, IMAGE),
    (Conv2d("conv2d", 5, 2), IMAGE),
    (Linear("linear", 7), (5,)),
    (Linear("linear", 7, bias=False), (5,)),
    (BatchNorm2d("batchnorm2d", 1e-3, 0.3), IMAGE),
    *((Activation(op), IMAGE) for op in ("relu", "relu6", "gelu", "silu")),
    (Pool2d("max_pool2d", 3, 2, 1, ceil_mode=True), IMAGE),
    (Pool2d("avg_pool2d", 3, 2, 1), IMAGE),
    (AdaptivePool2d("adaptive_avg_pool2d", 2, 3), IMAGE),
    (AdaptivePool2d("adaptive_max_pool2d", 2, 3), IMAGE),
    (Dropout("dropout", 0.3), IMAGE),
    (Flatten("flatten"), IMAGE),
    (Residual("residual", (CONV, BatchNorm2d("batchnorm2d")), (Conv2d("conv2d", 6, 1, stride=2),)), IMAGE),
)
each = pytest.mark.parametrize(("layer", "shape"), EXAMPLES, ids=lambda value: getattr(value, "op", ""))


def build(layer: Layer, shape: Shape, dtype: Dtype = "float32") -> nn.Module:
    return build_unit(Unit("unit", (layer,)), shape, torch.Generator().manual_seed(0), dtype)[0]


def test_every_operator_has_an_example() -> None:
    words = {op for operator in OPERATORS for op in get_args(get_type_hints(operator)["op"])}
    assert {layer.op for layer, _ in EXAMPLES} == words
    assert {op for operator in OPERATORS for op, *_ in operator.in_torch} == words


@each
@pytest.mark.parametrize("dtype", get_args(Dtype))
def test_its_weights_are_its_modules_own(layer: Layer, shape: Shape, dtype: Dtype) -> None:
    module = build(layer, shape, dtype)
    kinds = {
        **{name: "parameter" for name, _ in module.named_parameters(recurse=False)},
        **{name: "buffer" if b.is_floating_point() else "counter" for name, b in module.named_buffers(recurse=False)},
    }
    state = [(name, tuple(tensor.shape), kinds[name]) for name, tensor in module.state_dict().items() if name in kinds]
    assert [(weight.name, weight.shape, weight.kind) for weight in layer.weights(shape)] == state


@each
def test_its_weights_start_from_the_generator_alone(layer: Layer, shape: Shape) -> None:
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(build(layer, shape).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in states[0].items():
        assert tensor.isfinite().all() and torch.equal(tensor, states[1][name])


@each
def test_it_is_read_back_from_its_module(layer: Layer, shape: Shape) -> None:
    module = build(layer, shape)
    if layer.chains():
        assert known_type(module) is None  # a sum of two branches is found in the graph, not by a class
    else:
        kind = next(kind for op, kind, *_ in layer.in_torch if op == layer.op)
        assert layer_from(getattr(nn, kind)(**layer.arguments(shape)), "layer") == layer


@each
def test_its_output_is_torchs(layer: Layer, shape: Shape) -> None:
    inside = []
    for chain in layer.chains().values():
        after = shape
        for part in chain:
            after = part.output(after)
        inside.append(after)
    with torch.no_grad():
        assert layer.output(shape, *inside) == tuple(build(layer, shape)(torch.zeros(2, *shape)).shape[1:])


@each
def test_it_depends_on_the_batch_only_where_it_says_so(layer: Layer, shape: Shape) -> None:
    if any(part.op == "dropout" for part in every_layer((layer,))):
        pytest.skip("a dropout's samples differ from draw to draw")
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    other = torch.cat([x[:1], 5 * x[1:] + 1])
    with torch.no_grad():
        first, second = (build(layer, shape)(batch)[0] for batch in (x.clone(), other))
    depends = any(part.depends_on_batch for part in every_layer((layer,)))
    assert torch.allclose(first, second, atol=1e-6) != depends
