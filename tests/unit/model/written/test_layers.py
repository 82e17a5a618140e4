"""Written layers against `torch.nn`'s, and the operators of networks against themselves as modules."""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from planner.model.build import build_unit
from planner.model.graph_builder import GraphBuilder
from planner.model.shapes import Shape
from planner.model.written.base import Written
from planner.model.written.expand import WrittenUnit
from planner.model.written.layers import LAYERS, numbered, write_chain
from planner.schema.codec import decode, encode
from planner.schema.model import Unit
from tests.unit.model.chains import fitting_units

IMAGE, STEPS = (6, 8, 8), (5, 8)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        found: Tensor = self.inner(x, x, x, need_weights=False, attn_mask=mask, is_causal=True)[0]
        return found


class First(nn.Module):
    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.inner = recurrent

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]  # type: ignore[no-any-return]


class ChannelsLast(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * scale  # type: ignore[no-any-return]


class Joined(nn.Module):
    def __init__(self, join: str) -> None:
        super().__init__()
        self.ways = nn.ModuleList([nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3, padding=1)])
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        parts = [*(way(x) for way in self.ways), x]
        match self.join:
            case "cat":
                return torch.cat(parts, 1)
            case "add":
                return parts[0] + parts[1] + parts[2]  # type: ignore[no-any-return]
        return parts[0] * parts[1] * parts[2]  # type: ignore[no-any-return]


class Lambda(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[no-any-return]


def branches(join: str) -> dict[str, Any]:
    ways = [[conv("conv2d", 1, out_channels=6)], [conv("conv2d", 3, padding=1, out_channels=6)], []]
    return {"op": "branches", "branches": ways, "join": join}


def conv(op: str, kernel: Any, **more: Any) -> dict[str, Any]:
    return {"op": op, "out_channels": 4, "kernel": kernel} | more


def act(op: str, **more: Any) -> dict[str, Any]:
    return {"op": op, **more}


CASES: list[tuple[dict[str, Any], Shape, nn.Module]] = [
    (conv("conv1d", 3, stride=2, dilation=2), (6, 9), nn.Conv1d(6, 4, 3, 2, dilation=2)),
    (conv("conv2d", [3, 2], stride=[2, 1], padding=[1, 0], groups=2), IMAGE,
     nn.Conv2d(6, 4, (3, 2), (2, 1), (1, 0), groups=2)),
    (conv("conv3d", 2, bias=False), (6, 3, 4, 4), nn.Conv3d(6, 4, 2, bias=False)),
    (conv("conv_transpose1d", 3, stride=2), (6, 5), nn.ConvTranspose1d(6, 4, 3, 2)),
    (conv("conv_transpose2d", 3, stride=2, padding=1, output_padding=1), IMAGE, nn.ConvTranspose2d(6, 4, 3, 2, 1, 1)),
    (conv("conv_transpose3d", 2), (6, 2, 3, 3), nn.ConvTranspose3d(6, 4, 2)),
    (act("linear", out_features=3), STEPS, nn.Linear(8, 3)),
    (act("linear", out_features=3, bias=False), STEPS, nn.Linear(8, 3, bias=False)),
    (act("batchnorm1d"), (6, 5), nn.BatchNorm1d(6)),
    (act("batchnorm1d", eps=1e-3, momentum=0.3), (6,), nn.BatchNorm1d(6, 1e-3, 0.3)),
    (act("batchnorm3d"), (6, 2, 3, 4), nn.BatchNorm3d(6)),
    (act("groupnorm", groups=3), IMAGE, nn.GroupNorm(3, 6)),
    (act("instancenorm"), IMAGE, nn.InstanceNorm2d(6, affine=True)),
    (act("layernorm"), STEPS, nn.LayerNorm(8)),
    (act("layernorm", over="channels", eps=1e-3), IMAGE, ChannelsLast(6, 1e-3)),
    (act("rmsnorm", eps=1e-6), STEPS, nn.RMSNorm(8, 1e-6)),
    (act("leaky_relu", slope=0.2), STEPS, nn.LeakyReLU(0.2)),
    (act("prelu"), IMAGE, nn.PReLU(6)),
    *((act(op), STEPS, module) for op, module in (
        ("celu", nn.CELU()), ("elu", nn.ELU()), ("hardsigmoid", nn.Hardsigmoid()), ("hardswish", nn.Hardswish()),
        ("hardtanh", nn.Hardtanh()), ("log_sigmoid", nn.LogSigmoid()), ("mish", nn.Mish()), ("selu", nn.SELU()),
        ("sigmoid", nn.Sigmoid()), ("softplus", nn.Softplus()), ("tanh", nn.Tanh()),
    )),
    (act("max_pool1d", kernel=3, stride=2), (6, 9), nn.MaxPool1d(3, 2)),
    (act("max_pool2d", kernel=[2, 3], ceil_mode=True), IMAGE, nn.MaxPool2d((2, 3), ceil_mode=True)),
    (act("max_pool3d", kernel=2), (6, 4, 4, 4), nn.MaxPool3d(2)),
    (act("avg_pool1d", kernel=2), (6, 9), nn.AvgPool1d(2)),
    (act("avg_pool2d", kernel=[3, 2], padding=[1, 0]), IMAGE, nn.AvgPool2d((3, 2), padding=(1, 0))),
    (act("avg_pool3d", kernel=2), (6, 4, 4, 4), nn.AvgPool3d(2)),
    (act("global_avg_pool"), IMAGE, Lambda(lambda x: x.mean((2, 3)))),
    (act("global_max_pool"), (6, 9), Lambda(lambda x: x.amax(2))),
    (act("upsample", scale=2), IMAGE, nn.Upsample(scale_factor=2)),
    (act("upsample", scale=2, mode="linear"), IMAGE, nn.Upsample(scale_factor=2, mode="bilinear")),
    (act("scale", start=0.5), STEPS, Lambda(lambda x: 0.5 * x)),
    (act("scale", start=0.5, over="channels"), IMAGE, Lambda(lambda x: 0.5 * x)),
    (act("reshape", shape=[4, -1]), STEPS, Lambda(lambda x: x.reshape(-1, 4, 10))),
    (act("permute", order=[1, 0]), STEPS, Lambda(lambda x: x.permute(0, 2, 1))),
    (act("mean", dims=[0]), STEPS, Lambda(lambda x: x.mean(1))),
    (act("amax", dims=[-1]), STEPS, Lambda(lambda x: x.amax(2))),
    (act("select", dim=0, index=-1), STEPS, Lambda(lambda x: x[:, -1])),
    (act("attention", heads=2, causal=True), STEPS, Attention()),
    (act("lstm", hidden=3, layers=2, bidirectional=True), STEPS,
     First(nn.LSTM(8, 3, 2, bidirectional=True, batch_first=True))),
    (act("gru", hidden=3), STEPS, First(nn.GRU(8, 3, batch_first=True))),
    (act("squeeze_excitation", channels=2), IMAGE, SqueezeExcitation(6, 2)),
    *((branches(join), IMAGE, Joined(join)) for join in ("cat", "add", "mul")),
]  # fmt: skip


def built(layers: list[dict[str, Any]], shape: Shape) -> nn.Sequential:
    """A unit called `u` of these layers, as a graph."""
    chain = tuple(decode(WrittenUnit, {"name": "u", "layers": layers}).layers)
    return as_graph(chain, shape)


def as_graph(chain: tuple[Any, ...], shape: Shape) -> nn.Sequential:
    g = GraphBuilder(shape)
    g.result = write_chain(g, numbered(chain), g.x, "u", "$")
    return build_unit(Unit("u", (g.graph(),)), shape, torch.Generator().manual_seed(0))


@torch.no_grad()
def fill(unit: nn.Module, state: dict[str, Tensor]) -> None:
    for name, tensor in unit.state_dict().items():
        tensor.copy_(state[name])


def our_name(name: str) -> str:
    """What a weight of a test's module is called here."""
    return "0.u.0." + re.sub(r"^ways\.(\d)", r"branches.\1.0", name.removeprefix("inner."))


def results(module: nn.Module, data: Tensor) -> list[Tensor]:
    """Output, the input's gradient, and those of weights by their order."""
    x = data.clone().requires_grad_()
    torch.manual_seed(3)
    output = module(x)
    module.zero_grad()
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return [output.detach(), x.grad if x.grad is not None else torch.zeros(())]


@pytest.mark.parametrize(
    ("layer", "shape", "module"), CASES, ids=[f"{index}-{case[0]['op']}" for index, case in enumerate(CASES)]
)
def test_a_layer_is_torchs(layer: dict[str, Any], shape: Shape, module: nn.Module) -> None:
    """Names of its weights, output in both modes, gradients, and statistics."""
    unit = built([layer], shape)
    names = {our_name(name): name for name in module.state_dict()}
    if layer["op"] != "scale":
        assert set(unit.state_dict()) == set(names)
        fill(unit, {name: module.state_dict()[its] for name, its in names.items()})
    generator = torch.Generator().manual_seed(1)
    for mode in (True, False):
        data = torch.randn((3, *shape), generator=generator)
        torch.testing.assert_close(results(unit.train(mode), data), results(module.train(mode), data))
    weights = dict(module.named_parameters())
    for name, parameter in unit.named_parameters():
        if name in names:
            torch.testing.assert_close(parameter.grad, weights[names[name]].grad)
    for name, its in names.items():
        torch.testing.assert_close(unit.state_dict()[name], module.state_dict()[its])


def test_every_layer_of_its_own_is_among_the_cases() -> None:
    written = {op for kind in LAYERS if issubclass(kind, Written) for op in get_args(get_type_hints(kind)["op"])}
    elsewhere = {"residual", "embedding", "position", "class_token", "drop_path"}
    assert written == {layer["op"] for layer, _, _ in CASES} | elsewhere


@settings(max_examples=25, deadline=None)
@given(fitting_units())
def test_operators_of_networks_written_as_a_graph_do_the_same(drawn: tuple[Unit, Shape]) -> None:
    plain, shape = drawn
    module = build_unit(plain, shape, torch.Generator().manual_seed(0))
    unit = as_graph(decode(WrittenUnit, encode(plain)).layers, shape)
    fill(unit, {f"0.u.{name}": value for name, value in module.state_dict().items()})
    for mode in (True, False):
        data = torch.randn((3, *shape), generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(results(unit.train(mode), data), results(module.train(mode), data))
    for name, value in module.state_dict().items():
        torch.testing.assert_close(unit.state_dict()[f"0.u.{name}"], value)


@pytest.mark.parametrize("op", ["elu", "hardtanh", "sigmoid", "tanh", "leaky_relu"])
def test_what_is_overwritten_has_the_same_gradients(op: str) -> None:
    unit = built([conv("conv2d", [1, 2]), act(op)], IMAGE)
    twin = built([conv("conv2d", [1, 2]), act("flatten"), act(op)], IMAGE)  # a view is not overwritten
    fill(twin, unit.state_dict())
    data = torch.randn((3, *IMAGE), generator=torch.Generator().manual_seed(1))
    ours, theirs = results(unit, data), results(twin, data)
    torch.testing.assert_close([ours[0].flatten(1), ours[1]], theirs)


def test_dropped_paths_are_whole_samples() -> None:
    unit = built([act("residual", body=[act("tanh"), act("drop_path", p=0.5)])], STEPS)
    data = torch.rand((64, *STEPS)) + 0.1
    torch.manual_seed(0)
    ways = (unit(data) - data) / data.tanh()
    flat = ways.flatten(1)
    assert torch.allclose(flat, flat[:, :1].expand_as(flat), atol=1e-4)
    assert {round(float(each), 3) for each in flat[:, 0]} == {0.0, 2.0}
    torch.testing.assert_close(unit.eval()(data), data + data.tanh())


def test_learned_steps_and_places() -> None:
    unit = built([act("class_token"), act("position")], STEPS)
    data = torch.randn((3, *STEPS))
    token, place = unit.state_dict()["0.u.0.weight"], unit.state_dict()["0.u.1.weight"]
    assert torch.equal(unit(data), torch.cat([token.expand(3, 1, 8), data], 1) + place)
