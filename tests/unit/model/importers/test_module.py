"""Somebody else's modules as chains of unit graphs: which units they become, and that these compute the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from planner.errors import ModelError
from planner.model.build import build_unit
from planner.model.importers.chain import Chain
from planner.model.importers.given import Given
from planner.model.importers.module import import_chain, import_module
from planner.model.shapes import Shape, model_sizes
from planner.operators.unit_graph import UnitGraph
from planner.schema.codec import decode, encode
from planner.schema.model import Model
from tests.unit.model.importers.networks import (
    DenseBlock,
    Net,
    ResNet,
    SqueezeExcitation,
    StochasticDepth,
    Transformer,
    UNet,
    chain,
    gated,
    mobile,
)

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def graphs(model: Model) -> list[UnitGraph]:
    return [layer for unit in model.units for layer in unit.layers if isinstance(layer, UnitGraph)]


def operators(model: Model) -> list[list[str]]:
    return [[node.operator for node in graph.training_nodes] for graph in graphs(model)]


def built(found: Chain) -> nn.Sequential:
    """The described network as one module, with the weights of the module that it is of."""
    shape: Shape = found.model.input
    units = []
    for unit, sizes in zip(found.model.units, model_sizes(found.model), strict=True):
        units.append(build_unit(unit, shape))
        shape = sizes.output
    network = nn.Sequential(*units)
    for name, tensor in network.state_dict().items():
        tensor.copy_(found.tensors[f"units.{name}"])
    return network


def step(network: nn.Module, inputs: Tensor) -> Tensor:
    """Forward and backward in training mode, random streams from the same beginning."""
    network.train()
    torch.manual_seed(7)
    output: Tensor = network(inputs.clone())
    output.square().sum().backward()  # type: ignore[no-untyped-call]
    return output.detach()


def frozen_stem() -> nn.Sequential:
    net = chain(nn.BatchNorm2d(4), nn.ReLU())
    net[0].requires_grad_(False)
    return net


class StillNorm(nn.Module):
    """A batch normalisation that stays in evaluation, as people freeze one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def train(self, mode: bool = True) -> StillNorm:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.full((1, 4, 1, 1), 0.5))
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift + torch.tensor(0.25)


def deep(levels: int) -> nn.Module:
    layer: nn.Module = nn.Conv2d(4, 4, 1)
    for _ in range(levels):
        layer = Net(lambda net, x: net.body(x) + x, body=layer)
    return chain(layer)


def skips(net: Net, x: Tensor) -> object:
    """A tensor that is used inside one sum and again by another."""
    x = net.stem(x)
    a = net.a(x)
    return net.tail(net.b(a) + net.c(x) + a)


def overwritten() -> nn.Module:
    """A skip that is written into on its way, after one reader and before the other."""

    def forward(net: Net, x: Tensor) -> object:
        skip = net.stem(x)
        y = skip + 1
        for index in range(7):
            y = net.get_submodule(f"c{index}")(y)
            if index == 3:
                skip.relu_()
        return net.tail(y + skip)

    return Net(forward, stem=nn.Conv2d(3, 4, 1), tail=TAIL, **{f"c{index}": nn.Conv2d(4, 4, 1) for index in range(7)})


def in_idle_contexts(net: Net, x: Tensor) -> object:
    """Products that are kept in float32 whatever autocast is around them, as people write attention."""
    with torch.autocast("cpu", enabled=False), torch.enable_grad():
        y = net.a(x.float())
        one, other = (y @ y.transpose(-1, -2)).chunk(2, 1)
    return torch.cat([other, one], 1) + y


TAIL = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
SHARED = nn.Conv2d(4, 4, 1)


def dashed() -> nn.Sequential:
    """As RegNet calls its blocks."""
    net = chain()
    net.add_module("block1-0", nn.Linear(10, 10))
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": ResNet,
    "mobile": mobile,
    "transformer": Transformer,
    "squeeze and excitation": lambda: chain(SqueezeExcitation(4)),
    "stochastic depth": StochasticDepth,
    "long skips": lambda: Net(skips, stem=nn.Conv2d(3, 4, 1), tail=TAIL, **{n: nn.Conv2d(4, 4, 1) for n in "abc"}),
    "u-net": UNet,
    "a skip written into": overwritten,
    "dense block": DenseBlock,
    "a gate": lambda: chain(gated()),
    "residuals in residuals": lambda: deep(8),
    "65 layers in a residual": lambda: chain(
        Net(lambda net, x: net.body(x) + x, body=nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(65))))
    ),
    "joined channels": lambda: chain(Net(lambda net, x: torch.cat([net.a(x), x], 1), a=nn.Conv2d(4, 4, 1)), width=8),
    "a learned shift, constants": lambda: chain(Shifted()),
    "shared weights": lambda: chain(SHARED, nn.ReLU(), SHARED, nn.Conv2d(4, 4, 1)),
    "an in-place rectifier behind a cut": lambda: chain(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)),
    "an in-place rectifier on the input": lambda: nn.Sequential(nn.ReLU(inplace=True), *chain()),
    "a shortcut through an in-place rectifier": lambda: chain(
        Net(lambda net, x: net.b(net.a(x)) + x, a=nn.ReLU(inplace=True), b=nn.Conv2d(4, 4, 1))
    ),
    "a frozen stem": frozen_stem,
    "a normalisation that stays": lambda: chain(StillNorm()),
    "a name with a dash": dashed,
    "contexts that change nothing": lambda: chain(Net(in_idle_contexts, a=nn.Conv2d(4, 4, 1))),
    "weight norm": lambda: chain(parametrizations.weight_norm(nn.Conv2d(4, 4, 1))),
    "oblong and dilated": lambda: chain(nn.Conv2d(4, 4, (3, 1), (1, 2), (2, 0), (2, 1)), nn.MaxPool2d((2, 1))),
    "group, layer and instance norm": lambda: chain(
        nn.GroupNorm(2, 4), nn.LayerNorm([4, 8, 8]), nn.InstanceNorm2d(4, affine=True)
    ),
    "activations": lambda: chain(nn.Tanh(), nn.Hardswish(), nn.PReLU(), nn.GELU("tanh"), nn.ELU(), nn.Softplus()),
    "log-softmax": lambda: nn.Sequential(*chain(), nn.LogSoftmax(1)),
    "dropouts": lambda: chain(nn.Dropout2d(), nn.Dropout(), Net(lambda net, x: F.dropout(x, 0.3, net.training))),
    "a dropout that stays on": lambda: chain(Net(lambda net, x: F.dropout(x, 0.5))),
    "reshapes that count the samples": lambda: chain(
        Net(lambda net, x: x.view(x.shape[0] * 2, 2, 8, 8).flip(0).view(x.size(0), 4, 8, 8).contiguous())
    ),
    "windows of the input's size": lambda: chain(Net(lambda net, x: F.avg_pool2d(x, x.size(2)))),
    "arithmetic and slices": lambda: chain(Net(lambda net, x: (2 * x[:, :, ::2] - 1) / 3 + 0.1 * x[:, :, 1::2])),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_units_compute_what_the_module_does(name: str) -> None:
    torch.manual_seed(0)
    module = NETWORKS[name]()
    state = copy.deepcopy(module.state_dict())
    found = import_chain(Given(module, SAMPLE))
    assert all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())
    network, twin = built(found), copy.deepcopy(module)
    assert torch.equal(step(network, SAMPLE), step(twin, SAMPLE))
    own = {key.split(".", 2)[2]: tensor for key, tensor in network.state_dict(keep_vars=True).items()}
    unused = {"1.norm.num_batches_tracked"}  # of the normalisation that stays
    shared = {"3.weight", "3.bias"} if name == "shared weights" else set()  # they go by their first names
    for key, tensor in twin.state_dict(keep_vars=True).items():
        if key in unused | shared:
            continue
        assert torch.equal(own[key], tensor)
        assert (own[key].grad is None) == (tensor.grad is None)
        assert tensor.grad is None or torch.equal(own[key].grad, tensor.grad)
    with torch.no_grad():
        results = []
        for each in (network.eval(), twin.eval()):
            torch.manual_seed(7)
            results.append(each(SAMPLE.clone()))
    assert torch.equal(*results)
    assert decode(Model, encode(found.model)) == found.model


def test_a_resnets_units_are_its_blocks() -> None:
    model = import_module(Given(ResNet(), SAMPLE))
    assert [unit.name for unit in model.units] == [
        "conv1",
        "layer1.0.conv1",
        "layer1.1.conv1",
        "layer2.0.conv1",
        "fc",
    ]
    assert (model.schema, model.name, model.input, model.classes) == ("model/2", "ResNet", (3, 8, 8), 10)
    assert [node for node in operators(model)[0] if node != "add_.Tensor"] == [
        "conv2d",
        "batch_norm",
        "relu",
        "max_pool2d",
    ]
    # Average pooling and flattening go with the classifier, so that the boundary before it is an image.
    assert operators(model)[-1] == ["adaptive_avg_pool2d", "flatten.using_ints", "linear"]


def passing(model: Model) -> list[list[int]]:
    """Behind each unit, the channels of every tensor that passes."""
    return [[size.output[0], *(shape[0] for shape in size.further)] for size in model_sizes(model)]


def test_skips_are_carried_along_where_a_unit_would_be_large() -> None:
    model = import_module(Given(UNet(), SAMPLE))
    assert passing(model) == [
        *([[4], [4], [8, 4], [8, 4], [16, 4, 8], [16, 4, 8]]),  # down: what each level made is still to be joined
        *([[8, 4], [8, 4], [8], [4], [4], [10]]),  # up
    ]
    assert [unit.name for unit in model.units][2:9:2] == ["down.1.0", "down.2.0", "up.0", "up.1"]


def test_a_dense_block_is_cut_between_its_layers_and_not_inside_them() -> None:
    # Between a layer's two convolutions 16 channels pass that nobody else reads: more than before and behind it.
    found = passing(import_module(Given(DenseBlock(), SAMPLE)))
    assert found[:5] == [[8], [4, 8], [4, 8, 4], [4, 8, 4, 4], [24]]


def test_no_boundary_has_a_skip_that_is_written_into_behind_it() -> None:
    found = passing(import_module(Given(overwritten(), SAMPLE)))
    # The second unit has all that comes before the writing: four convolutions.
    assert found == [[4], [4, 4], [4, 4], [4, 4], [4], [10]]


def test_a_unit_has_one_layer_with_weights_where_it_can_be_cut() -> None:
    model = import_module(Given(chain(nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.MaxPool2d(2)), SAMPLE))
    assert [unit.name for unit in model.units] == ["layer 0", "layer 2", "layer 7"]


class Turned(nn.Module):
    """Uses a weight as it is and turned around."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4) / 3)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(x.mean((2, 3)) @ torch.cat(self.weight.t().chunk(5, 1), 1))
        return F.relu(inner @ self.weight)[:, :, None, None]


def test_a_weight_that_is_turned_makes_a_unit_and_is_in_one_alone() -> None:
    model = import_module(Given(chain(Turned()), SAMPLE))
    names = [tensor.name for graph in graphs(model) for tensor in graph.tensors]
    assert len(names) == len(set(names))
    assert [unit.name for unit in model.units] == ["layer 0", "layer 1", "layer 4"]


def test_weights_keep_the_modules_names() -> None:
    module = ResNet()
    found = import_chain(Given(module, SAMPLE))
    names = [tensor.name for graph in graphs(found.model) for tensor in graph.tensors]
    assert sorted(names) == sorted(module.state_dict())


def test_what_is_not_trained_is_no_parameter() -> None:
    kinds = {
        tensor.name: tensor.kind
        for graph in graphs(import_module(Given(frozen_stem(), SAMPLE)))
        for tensor in graph.tensors
    }
    assert (kinds["0.weight"], kinds["0.bias"], kinds["1.weight"]) == ("buffer", "buffer", "parameter")


def test_how_weights_begin_is_read_off_the_modules_own() -> None:
    net = chain(nn.BatchNorm2d(4), Shifted())
    with torch.no_grad():
        net.get_parameter("0.weight").normal_(0.0, 0.02)
        net.get_buffer("1.running_mean").fill_(3.0)  # of a trained network: a new one begins with 0
        net.get_parameter("5.weight").uniform_(-0.3, 0.3)
    found = {tensor.name: tensor for graph in graphs(import_module(Given(net, SAMPLE))) for tensor in graph.tensors}
    assert (found["0.weight"].start, found["5.weight"].start) == ("normal", "uniform")
    assert found["0.weight"].scale == pytest.approx(0.02, rel=0.25)
    assert found["5.weight"].scale == pytest.approx(0.3, rel=0.1)
    assert (found["1.running_mean"].start, found["1.running_mean"].scale) == ("constant", 0.0)
    assert (found["2.shift"].start, found["2.shift"].scale) == ("constant", 0.5)
    assert (found["2.scale"].start, found["2.scale"].values) == ("values", (1.0, 2.0, 3.0, 4.0))
    assert not found["2.scale"].persistent


def test_evaluation_has_lines_of_its_own_only_where_it_does_something_else() -> None:
    assert [bool(graph.evaluation) for graph in graphs(import_module(Given(ResNet(), SAMPLE)))] == [False] * 5
    found = graphs(import_module(Given(StochasticDepth(), SAMPLE)))
    assert [bool(graph.evaluation) for graph in found] == [False, True, False]


def _told(net: Net, x: Tensor) -> Tensor:
    """What does something else while it is exported, to the same effect."""
    scores: Tensor = net.body(x if isinstance(x, FakeTensor) else x.clone())
    return scores


@pytest.mark.parametrize(
    ("make", "samples"),
    [
        (lambda: chain(nn.BatchNorm2d(4), nn.Dropout()), [3]),
        (ResNet, [3]),
        (Transformer, [3]),
        (StochasticDepth, [3, 3]),
        (lambda: Net(_told, body=chain()), [3, 5, 3, 5]),
    ],
)
def test_what_is_seen_when_the_module_runs_is_not_exported_again(
    make: Callable[[], nn.Module], samples: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of samples, and evaluation where it does the same."""
    counted: list[int] = []
    original = torch.export.export

    def count(*given: Any, **named: Any) -> Any:
        counted.append(len(given[1][0]))
        return original(*given, **named)

    monkeypatch.setattr(torch.export, "export", count)
    import_module(Given(make(), SAMPLE))
    assert counted == samples


def test_an_argument_with_a_default_keeps_it() -> None:
    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = chain()

        def forward(self, x: Tensor, raw: bool = False) -> Tensor:
            scores: Tensor = x if raw else self.body(x)
            return scores

    assert len(import_module(Given(Switched(), SAMPLE)).units) == 2


def test_a_single_image_is_a_sample_and_its_values_do_not_matter() -> None:
    net = chain()
    assert import_module(Given(net, SAMPLE[0])) == import_module(Given(net, torch.zeros(4, 3, 8, 8)))


def test_normalisation_over_one_value_per_channel_is_no_error() -> None:
    model = import_module(Given(chain(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)), SAMPLE[:1]))
    assert [sizes.minimum_micro_batch for sizes in model_sizes(model)] == [2, 1]


def test_the_module_and_the_sample_stay_as_they_were() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), *chain(nn.BatchNorm2d(4)).train())
    net[2].eval()
    flags = [part.training for part in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    sample = SAMPLE.clone()
    import_module(Given(net, sample))
    assert [part.training for part in net.modules()] == flags
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(sample, SAMPLE)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_flags_and_hooks_are_restored_after_an_error() -> None:
    net = chain(Net(lambda net, x: x if x.sum() > 0 else -x))
    net[0].eval()
    flags = [part.training for part in net.modules()]
    with pytest.raises(ModelError):
        import_module(Given(net, SAMPLE))
    assert [part.training for part in net.modules()] == flags
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_an_empty_tensor_that_is_joined_to_others_is_passed_over() -> None:
    """As `torch.cat` does, and as caches of keys begin in Hugging Face's decoders."""
    net = chain(Net(lambda net, x: torch.min(torch.cat([torch.tensor([]), x, x]), torch.ones(()))[: len(x)]))
    found = import_chain(Given(net, SAMPLE))
    named = [name for names in operators(found.model) for name in names]
    assert "cat" in named and "min.other" in named
    expected, output = (step(network, SAMPLE) for network in (copy.deepcopy(net), built(found)))
    assert torch.equal(expected, output)


class _KeepsBiases(nn.Module):
    """As LeViT and EfficientFormer do: biases by place are computed once in evaluation, and kept."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.biases = nn.Parameter(torch.randn(4, 5))
        self.linear = nn.Linear(4 * 8 * 8, 10)
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> _KeepsBiases:
        self.kept.clear()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.biases[:, :1] if self.training else self.kept.setdefault("first", self.biases[:, :1])
        found: Tensor = self.linear((self.conv(x) + bias[None, :, :, None]).flatten(1))
        return found


@pytest.mark.parametrize("is_run_before", [False, True])
def test_what_a_module_keeps_of_a_forward_is_no_obstacle(is_run_before: bool) -> None:
    module = _KeepsBiases()
    if is_run_before:
        module.eval()(SAMPLE)
    found = import_chain(Given(module, SAMPLE))
    assert torch.equal(built(found).eval()(SAMPLE), module.train().eval()(SAMPLE))
