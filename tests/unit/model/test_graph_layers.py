"""Layers of unit graphs against those of `torch.nn`: outputs, gradients, names, and what they begin with."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from planner.model import graph_layers as layers
from planner.model.build import build_unit
from planner.model.graph_builder import GraphBuilder, Var
from planner.operators.base import Shape
from planner.operators.unit_graph import UnitGraph
from planner.schema.model import Unit

Write = Callable[[GraphBuilder], Var]


def written(write: Write, shape: Shape) -> UnitGraph:
    g = GraphBuilder(shape)
    g.result = write(g)
    return g.graph()


CASES: list[tuple[Write, Callable[[], nn.Module], Shape]] = [
    (
        lambda g: layers.conv2d(g, g.x, "0", 8, (3, 5), stride=(2, 1), groups=2),
        lambda: nn.Sequential(nn.Conv2d(4, 8, (3, 5), (2, 1), (1, 2), groups=2, bias=False)),
        (4, 9, 8),
    ),
    (
        lambda g: layers.conv2d(g, g.x, "0", 6, 4, stride=4, padding=0, bias=True),
        lambda: nn.Sequential(nn.Conv2d(3, 6, 4, 4)),
        (3, 8, 8),
    ),
    (lambda g: layers.linear(g, g.x, "0", 5), lambda: nn.Sequential(nn.Linear(6, 5)), (3, 6)),
    (lambda g: layers.linear(g, g.x, "0", 5, bias=False), lambda: nn.Sequential(nn.Linear(6, 5, bias=False)), (6,)),
    (
        lambda g: layers.batch_norm(g, g.x, "0", momentum=0.01, eps=1e-3),
        lambda: nn.Sequential(nn.BatchNorm2d(3, 1e-3, 0.01)),
        (3, 4, 4),
    ),
    (lambda g: layers.layer_norm(g, g.x, "0", eps=1e-6), lambda: nn.Sequential(nn.LayerNorm(6, 1e-6)), (3, 6)),
    (lambda g: layers.group_norm(g, g.x, "0", 2), lambda: nn.Sequential(nn.GroupNorm(2, 6)), (6, 3, 3)),
    (
        lambda g: layers.max_pool2d(g, g.x, 3, 2, padding=1, ceil_mode=True),
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        (2, 8, 7),
    ),
    (
        lambda g: layers.mean_of_image(g, g.x),
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        (2, 8, 7),
    ),
]


@pytest.mark.parametrize(("write", "module", "shape"), CASES)
def test_a_layer_does_what_torchs_does(write: Write, module: Callable[[], nn.Module], shape: Shape) -> None:
    theirs = module()
    ours = build_unit(Unit("u", (written(write, shape),)), shape)
    own = ours.state_dict()
    assert own.keys() == {f"0.{name}" for name in theirs.state_dict()}
    for name, tensor in theirs.state_dict().items():
        own[f"0.{name}"].copy_(tensor)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for network in (ours, theirs):
        network(x).square().sum().backward()
    assert torch.equal(ours(x), theirs(x))
    for (_, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[f"0.{name}"], tensor)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("write", "module", "shape"), CASES)
def test_a_layer_begins_as_torchs_does(write: Write, module: Callable[[], nn.Module], shape: Shape) -> None:
    """Bounds of uniform distributions: torch's own numbers lie within, and nearly reach them."""
    drawn = [module().state_dict() for _ in range(20)]
    for tensor in written(write, shape).tensors:
        values = torch.stack([state[tensor.name] for state in drawn])
        if tensor.start == "constant":
            assert torch.all(values == tensor.scale)
        else:
            assert tensor.start == "uniform"
            assert 0.9 * tensor.scale < float(values.abs().max()) <= tensor.scale


def test_kaiming_normal_is_torchs() -> None:
    kind, deviation = layers.kaiming_normal(9 * 64)
    weight = nn.init.kaiming_normal_(torch.empty(64, 64, 3, 3), generator=torch.Generator().manual_seed(0))
    assert kind == "normal"
    assert float(weight.std()) == pytest.approx(deviation, rel=0.01)


def test_stochastic_depth_leaves_samples_out_in_training_alone() -> None:
    def write(g: GraphBuilder) -> Var:
        return layers.stochastic_depth(g, g.call("mul.Tensor", g.x, 1.0), 0.75)

    module = build_unit(Unit("u", (written(write, (2, 3)),)), (2, 3))
    x = torch.ones(4000, 2, 3)
    torch.manual_seed(0)
    found: Tensor = module(x)
    rows = found.flatten(1)
    assert torch.equal(rows.amin(1), rows.amax(1))  # a sample stays or goes as a whole
    assert set(rows[:, 0].tolist()) == {0.0, 4.0}
    kept = float((rows[:, 0] > 0).float().mean())
    assert kept == pytest.approx(0.25, abs=5 * sqrt(0.25 * 0.75 / 4000))
    assert torch.equal(module.eval()(x), x)


@pytest.mark.parametrize(
    ("extents", "kernel", "stride", "expected"),
    [
        ((49, 10), (10, 4), 2, [1, 1, 4, 5]),  # TensorFlow: 25 rows of 10, 2 apart, are 58: 9 more than 49
        ((32, 32), 3, 2, [0, 1, 0, 1]),
        ((32, 32), 3, 1, [1, 1, 1, 1]),
        ((8, 8), 1, 2, [0, 0, 0, 0]),
    ],
)
def test_same_padding_is_tensorflows(
    extents: tuple[int, int], kernel: layers.Sides, stride: layers.Sides, expected: list[int]
) -> None:
    assert layers.same_padding(extents, kernel, stride) == expected
