"""Every operator holds what it says of itself: each has an example here, and torch is the judge."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import torch
from torch import nn

from planner.model.build import build_unit
from planner.operators.base import Shape
from planner.operators.layers import OPERATORS, every_layer
from planner.operators.unit_graph import GraphTensor, UnitGraph
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
GRAPH = UnitGraph(
    "graph",
    (
        "a = conv2d(x, $body.0.weight, none, [2, 2], [1, 1])",
        "_ = add_.Tensor($body.1.num_batches_tracked, 1) if training",
        "b = batch_norm(a, $body.1.weight, $body.1.bias, $body.1.running_mean, $body.1.running_var, training, "
        "0.1, 1e-05, false)",
        "c = relu_(b)",
    ),
    "c",
    (
        GraphTensor("body.0.weight", (6, 4, 3, 3), "parameter", "uniform", 0.5),
        GraphTensor("body.1.num_batches_tracked", (), "counter", "constant"),
        GraphTensor("body.1.weight", (6,), "parameter", "constant", 1.0),
        GraphTensor("body.1.bias", (6,), "parameter", "normal", 0.1),
        GraphTensor("body.1.running_mean", (6,), "buffer", "constant"),
        GraphTensor("body.1.running_var", (6,), "buffer", "values", values=(1.0, 2.0, 1.0, 1.0, 1.0, 0.5)),
    ),
)
EXAMPLES = (*EXAMPLES, (GRAPH, IMAGE))
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
