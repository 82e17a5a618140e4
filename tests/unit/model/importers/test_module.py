"""Somebody else's modules as descriptions: which layers and units they become, and why some are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from planner.errors import ModelError
from planner.model.build import build_unit
from planner.model.importers.module import import_module
from planner.model.shapes import Shape, model_sizes
from planner.model.zoo import from_zoo
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Model,
    Pool2d,
    Residual,
)
from tests.unit.model.importers.networks import Net, ResNet, chain, mobile

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
NORM = BatchNorm2d("batchnorm2d")
RELU = Activation("relu")
RELU6 = Activation("relu6")
TAIL = (AdaptivePool2d("adaptive_avg_pool2d", 1, 1), Flatten("flatten"), Linear("linear", 10))


def conv(filters: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = False) -> Conv2d:
    return Conv2d("conv2d", filters, kernel, stride, kernel // 2, groups, bias)


def layers(model: Model) -> list[tuple[Layer, ...]]:
    return [unit.layers for unit in model.units]


def flat(model: Model) -> list[Layer]:
    return [layer for unit in model.units for layer in unit.layers]


def built(model: Model) -> nn.Sequential:
    """The described network as one module, with weights of its own."""
    shape: Shape = model.input
    units = []
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        units.append(build_unit(unit, shape, torch.Generator().manual_seed(0)))
        shape = sizes.output
    return nn.Sequential(*units)


def test_a_plain_sequential_becomes_units_that_begin_with_its_weights() -> None:
    vgg = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        nn.AvgPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(24, 12),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(12, 10, bias=False),
    )
    model = import_module(vgg, SAMPLE)
    assert layers(model) == [
        (conv(4), NORM, RELU),
        (conv(6, bias=True), RELU, Pool2d("max_pool2d", 2, 2, ceil_mode=True)),
        (Pool2d("avg_pool2d", 2, 2), Dropout("dropout", 0.25), Flatten("flatten"), Linear("linear", 12), RELU,
         Dropout("dropout")),
        (Linear("linear", 10, bias=False),),
    ]  # fmt: skip
    assert [unit.name for unit in model.units] == ["layer 0", "3.0", "layer 7", "layer 10"]
    assert (model.name, model.input, model.classes) == ("Sequential", (3, 8, 8), 10)


def test_a_resnet_becomes_residuals() -> None:
    body = (conv(4), NORM, RELU, conv(4), NORM)
    wide = (conv(6, stride=2), NORM, RELU, conv(6), NORM)
    shortcut = (Conv2d("conv2d", 6, 1, 2, bias=False), NORM)
    model = import_module(ResNet(), SAMPLE)
    assert layers(model) == [
        (conv(4), NORM, RELU, Pool2d("max_pool2d", 2, 2)),
        (Residual("residual", body), RELU),
        (Residual("residual", body), RELU),
        (Residual("residual", wide, shortcut), RELU),
        TAIL,
    ]
    assert [unit.name for unit in model.units] == ["conv1", "layer1.0", "layer1.1", "layer2.0", "fc"]


def test_inverted_residuals_with_and_without_a_sum() -> None:
    body = (conv(8, 1), NORM, RELU6, conv(8, groups=8), NORM, RELU6, conv(4, 1), NORM)
    assert layers(import_module(mobile(), SAMPLE)) == [
        (conv(4),),
        (Residual("residual", body),),
        (conv(8, 1), NORM, RELU6),
        (conv(8, stride=2, groups=8), NORM, RELU6),
        (conv(6, 1), NORM),
        TAIL,
    ]


@pytest.mark.parametrize("name", ["cnn6", "vgg11", "resnet18"])
def test_a_built_network_of_the_zoo_comes_back(name: str) -> None:
    model = from_zoo(name, (1, 28, 28), 10)
    found = import_module(built(model), torch.randn(2, 1, 28, 28))
    assert layers(found) == layers(model)


def test_mobilenetv2_comes_back_layer_by_layer() -> None:
    model = from_zoo("mobilenetv2", (3, 32, 32), 10)
    assert flat(import_module(built(model), torch.randn(2, 3, 32, 32))) == flat(model)


def flatten(x: Tensor) -> Tensor:
    return x.view(x.size(0), -1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (F.relu, [RELU]),
        (torch.relu, [RELU]),
        (lambda x: x.relu_(), [RELU]),
        (F.relu6, [RELU6]),
        (F.gelu, [Activation("gelu")]),
        (F.silu, [Activation("silu")]),
        (lambda x: F.max_pool2d(x, 3, stride=2, padding=1), [Pool2d("max_pool2d", 3, 2, 1)]),
        (lambda x: F.max_pool2d(x, 3, 2, 1, 1, True), [Pool2d("max_pool2d", 3, 2, 1, True)]),
        (lambda x: torch.max_pool2d(x, 2), [Pool2d("max_pool2d", 2, 2)]),
        (lambda x: F.avg_pool2d(x, (3, 3), 1, ceil_mode=True), [Pool2d("avg_pool2d", 3, 1, ceil_mode=True)]),
        (lambda x: F.adaptive_avg_pool2d(x, (2, 4)), [AdaptivePool2d("adaptive_avg_pool2d", 2, 4)]),
        (lambda x: F.adaptive_max_pool2d(x, 3), [AdaptivePool2d("adaptive_max_pool2d", 3, 3)]),
        (lambda x: F.dropout(x, 0.1, training=False), []),
        (lambda x: x.contiguous(), []),
        (lambda x: x.mean((2, 3), keepdim=True), [AdaptivePool2d("adaptive_avg_pool2d", 1, 1)]),
    ],
)
def test_functions_are_layers(call: Callable[[Tensor], Tensor], expected: list[Layer]) -> None:
    def forward(net: Net, x: Tensor) -> object:
        return net.fc(F.adaptive_avg_pool2d(call(net.conv(x)), 1).flatten(1))

    net = Net(forward, conv=nn.Conv2d(3, 4, 3, padding=1), fc=nn.Linear(4, 10))
    assert flat(import_module(net, SAMPLE)) == [conv(4, bias=True), *expected, *TAIL]


@pytest.mark.parametrize(
    "call",
    [
        flatten,
        lambda x: x.view(x.shape[0], -1),
        lambda x: x.view(-1, 256),
        lambda x: x.reshape((x.size()[0], 256)),
        lambda x: torch.reshape(x, (x.size(dim=0), -1)),
        lambda x: torch.flatten(x, start_dim=1),
        lambda x: x.flatten(1),
    ],
)
def test_ways_to_flatten(call: Callable[[Tensor], Tensor]) -> None:
    net = Net(lambda net, x: net.fc(call(net.conv(x))), conv=nn.Conv2d(3, 4, 3, padding=1), fc=nn.Linear(256, 10))
    assert layers(import_module(net, SAMPLE)) == [(conv(4, bias=True),), (Flatten("flatten"), Linear("linear", 10))]


def test_a_mean_over_rows_and_columns_is_a_pool() -> None:
    net = Net(lambda net, x: net.fc(net.conv(x).mean([-1, -2])), conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 10))
    assert layers(import_module(net, SAMPLE)) == [(Conv2d("conv2d", 4, 3),), TAIL]


def test_dropout_counts_although_the_module_was_in_evaluation() -> None:
    def forward(net: Net, x: Tensor) -> object:
        return net.fc(F.dropout(F.adaptive_avg_pool2d(net.conv(x), 1).flatten(1), 0.3, net.training))

    net = Net(forward, conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 10)).eval()
    assert Dropout("dropout", 0.3) in flat(import_module(net, SAMPLE))


@pytest.mark.parametrize("add", [torch.add, lambda a, b: a.add_(b), lambda a, b: b + a])
def test_a_sum_of_three_is_two_residuals(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    def forward(net: Net, x: Tensor) -> object:
        x = net.stem(x)
        return net.tail(add(add(net.a(x), net.b(x)), x))

    parts = {"stem": nn.Conv2d(3, 4, 1), "a": nn.Conv2d(4, 4, 3, padding=1), "b": nn.Conv2d(4, 4, 1)}
    net = Net(forward, **parts, tail=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)))
    inner = flat(import_module(net, SAMPLE))[1]
    assert isinstance(inner, Residual) and inner.shortcut == () and len(inner.body) == 1
    assert isinstance(inner.body[0], Residual)
    found = {inner.body[0].body, inner.body[0].shortcut}
    assert found == {(conv(4, bias=True),), (conv(4, 1, bias=True),)}


def test_two_sums_in_one_forward_have_names_of_their_own() -> None:
    def forward(net: Net, x: Tensor) -> object:
        x = net.a(x) + x
        return net.tail(net.b(x) + x)

    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    net = Net(forward, a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 1), tail=tail)
    assert [unit.name for unit in import_module(net, SAMPLE).units] == ["residual", "residual (2)", "tail.2"]


def test_an_argument_with_a_default_keeps_it() -> None:
    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = chain()

        def forward(self, x: Tensor, raw: bool = False) -> Tensor:
            scores: Tensor = x if raw else self.body(x)
            return scores

    assert len(import_module(Switched(), SAMPLE).units) == 2


def test_a_single_image_is_a_sample() -> None:
    assert import_module(chain(), SAMPLE[0]) == import_module(chain(), SAMPLE)


def test_normalisation_over_one_value_per_channel_is_no_error() -> None:
    model = import_module(chain(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)), SAMPLE[:1])
    assert [sizes.minimum_micro_batch for sizes in model_sizes(model)] == [2, 1]


def test_the_module_and_the_sample_stay_as_they_were() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), *chain(nn.BatchNorm2d(4)).train())
    net[2].eval()
    flags = [part.training for part in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    sample = SAMPLE.clone()
    import_module(net, sample)
    assert [part.training for part in net.modules()] == flags
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(sample, SAMPLE)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_flags_and_hooks_are_restored_after_an_error() -> None:
    net = chain(nn.Tanh())
    net[0].eval()
    flags = [part.training for part in net.modules()]
    with pytest.raises(ModelError):
        import_module(net, SAMPLE)
    assert [part.training for part in net.modules()] == flags
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
