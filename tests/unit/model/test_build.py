"""Modules as described: names, first weights, gradients to the last bit, and no memory beyond the weights."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from planner.errors import ModelError
from planner.model.build import build_unit
from planner.model.shapes import Shape, unit_sizes
from planner.model.zoo import from_zoo
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    Pool2d,
    Residual,
    Unit,
)
from tests.unit.model.chains import fitting_units
from tests.unit.model.reference import build

CONV = Conv2d("conv2d", 4, 3, padding=1)
NORM = BatchNorm2d("batchnorm2d")
RELU = Activation("relu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(left: Tensor | None, right: Tensor | None) -> bool:
    """Equal to the last bit, or both absent."""
    if left is None or right is None:
        return left is right
    return torch.equal(left, right)


def passes(module: nn.Module, data: Tensor, seed: int) -> list[Tensor | None]:
    """Everything that one forward and backward leaves: output, gradients, buffers. The input must survive."""
    torch.manual_seed(seed)
    x = data.clone().requires_grad_()
    output = module(x)
    assert torch.equal(x.detach(), data), "the unit wrote into its input"
    output.backward(torch.randn(output.shape, generator=seeded(seed)))
    assert torch.equal(x.detach(), data), "the unit wrote into its input"
    return [output.detach(), x.grad, *(p.grad for p in module.parameters()), *module.buffers()]


def assert_like_plain(unit: Unit, shape: Shape, seed: int, *, training: bool) -> None:
    data = torch.randn(2, *shape, generator=seeded(seed))
    module = build_unit(unit, shape, seeded(seed))
    plain, _ = build(unit.layers, data)
    plain.load_state_dict(module.state_dict())
    module.train(training)
    plain.train(training)
    pairs = zip(passes(module, data, seed), passes(plain, data, seed), strict=True)
    assert all(same(ours, plains) for ours, plains in pairs)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(fitting_units(), st.integers(0, 2**31), st.booleans())
def test_gradients_are_exactly_those_of_a_plain_build(case: tuple[Unit, Shape], seed: int, training: bool) -> None:
    unit, shape = case
    assert_like_plain(unit, shape, seed, training=training)


@pytest.mark.parametrize("name", ["cnn6", "vgg11", "resnet18"])
def test_the_zoos_gradients_are_exactly_those_of_a_plain_build(name: str) -> None:
    model = from_zoo(name, (3, 32, 32), 10)
    shape: Shape = model.input
    for unit in model.units:
        assert_like_plain(unit, shape, 0, training=True)
        shape = unit_sizes(unit, shape).output


@pytest.mark.parametrize(
    ("layers", "inplace"),
    [
        ((CONV, RELU), [True]),
        ((CONV, NORM, Activation("relu6")), [True]),
        ((Flatten("flatten"), Linear("linear", 3), RELU), [True]),
        ((Residual("residual", (CONV,)), RELU), [True, True]),
        ((Residual("residual", (CONV, RELU)),), [False, True]),
        ((Residual("residual", (RELU, CONV), (RELU,)),), [True, False, False]),
        ((RELU,), [False]),
        ((CONV, RELU, RELU), [True, False]),
        ((CONV, Pool2d("avg_pool2d", 2, 2), RELU), [False]),
        ((CONV, Activation("silu"), RELU), [False, False]),
        ((CONV, Dropout("dropout"), RELU), [False]),
        ((CONV, Flatten("flatten"), RELU), [False]),
        ((CONV, Pool2d("max_pool2d", 2, 2), RELU), [False]),
    ],
)
def test_only_what_nobody_else_looks_at_is_overwritten(layers: tuple[object, ...], inplace: list[bool]) -> None:
    module = build_unit(Unit("unit", layers), (4, 6, 6))  # type: ignore[arg-type]
    overwriting = [part for part in module.modules() if hasattr(part, "inplace") and not isinstance(part, nn.Dropout)]
    assert [part.inplace for part in overwriting] == inplace


def test_parameters_are_named_by_layer() -> None:
    body = (CONV, NORM, RELU, Conv2d("conv2d", 4, 3, padding=1, bias=False))
    layers = (
        CONV,
        NORM,
        RELU,
        Residual("residual", body, (CONV,)),
        Flatten("flatten"),
        Linear("linear", 2, bias=False),
    )
    assert list(build_unit(Unit("unit", layers), (3, 5, 5)).state_dict()) == [
        "0.weight", "0.bias",
        "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
        "3.body.0.weight", "3.body.0.bias",
        "3.body.1.weight", "3.body.1.bias",
        "3.body.1.running_mean", "3.body.1.running_var", "3.body.1.num_batches_tracked",
        "3.body.3.weight",
        "3.shortcut.0.weight", "3.shortcut.0.bias",
        "5.weight",
    ]  # fmt: skip


def test_first_weights_are_those_of_torchs_own_rules() -> None:
    grouped = Conv2d("conv2d", 6, 3, groups=3)
    body = (Conv2d("conv2d", 6, 1), NORM)
    layers = (grouped, NORM, Residual("residual", body), Flatten("flatten"), Linear("linear", 5))
    module = build_unit(Unit("unit", layers), (3, 6, 6), seeded(7))
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())

    generator = seeded(7)

    def normal(*shape: int) -> Tensor:
        return nn.init.kaiming_normal_(torch.empty(shape), mode="fan_out", nonlinearity="relu", generator=generator)

    expected = {"0.weight": normal(6, 1, 3, 3), "2.body.0.weight": normal(6, 6, 1, 1)}
    expected["4.weight"] = nn.init.kaiming_uniform_(torch.empty(5, 96), a=math.sqrt(5), generator=generator)
    for name, tensor in module.state_dict().items():
        if name in expected:
            assert torch.allclose(tensor, expected[name], rtol=1e-6, atol=0), name
        elif name.endswith(("running_var",)) or name in ("1.weight", "2.body.1.weight"):
            assert torch.equal(tensor, torch.ones_like(tensor)), name
        else:
            assert torch.equal(tensor, torch.zeros_like(tensor)), name


def test_equal_generators_give_equal_numbers_and_others_do_not() -> None:
    unit = Unit("unit", (CONV, NORM, RELU, Flatten("flatten"), Linear("linear", 3)))
    first, again, other = (build_unit(unit, (3, 4, 4), seeded(seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert not torch.equal(first["4.weight"], other["4.weight"])


@pytest.mark.parametrize("generator", [None, seeded(3)])
def test_the_global_generator_is_left_alone(generator: torch.Generator | None) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build_unit(Unit("unit", (CONV, NORM, Flatten("flatten"), Linear("linear", 3))), (3, 4, 4), generator)
    assert torch.equal(torch.get_rng_state(), before)


def test_arguments_reach_torch() -> None:
    layers = (
        Conv2d("conv2d", 6, 3, stride=2, padding=1, groups=3, bias=False),
        BatchNorm2d("batchnorm2d", eps=1e-3, momentum=0.25),
        Activation("gelu"),
        Activation("silu"),
        Pool2d("max_pool2d", 3, 2, 1, True),
        Pool2d("avg_pool2d", 2, 1, 1, False),
        AdaptivePool2d("adaptive_avg_pool2d", 3, 2),
        AdaptivePool2d("adaptive_max_pool2d", 2, 1),
        Dropout("dropout", 0.125),
    )
    expected = [
        nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3, bias=False),
        nn.BatchNorm2d(6, eps=1e-3, momentum=0.25),
        nn.GELU(),
        nn.SiLU(),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.AvgPool2d(2, stride=1, padding=1),
        nn.AdaptiveAvgPool2d((3, 2)),
        nn.AdaptiveMaxPool2d((2, 1)),
        nn.Dropout(0.125),
    ]
    module = build_unit(Unit("unit", layers), (3, 20, 20))
    assert [str(part).removeprefix("_") for part in module] == [str(part) for part in expected]
    rounding_up = build_unit(Unit("unit", (Pool2d("avg_pool2d", 2, 2, ceil_mode=True),)), (1, 3, 3))
    assert rounding_up(torch.zeros(1, 1, 3, 3)).shape == (1, 1, 2, 2)


class Refusing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """No tensor may be made or touched inside."""

    def __torch_dispatch__(self, func: object, *_: object) -> None:
        raise AssertionError(f"a tensor was made: {func}")


def test_a_unit_that_does_not_fit_is_refused_before_any_tensor_exists() -> None:
    small = Unit("small", (Conv2d("conv2d", 8, 1), Conv2d("conv2d", 8, 5)))
    refusing = Refusing()  # type: ignore[no-untyped-call]
    with refusing, pytest.raises(ModelError, match=r"^small, layer 1 \(conv2d\): nothing is left"):
        build_unit(small, (3, 4, 4))
    with pytest.raises(AssertionError, match="a tensor was made"), refusing:
        build_unit(small, (3, 5, 5))


CHILD = """
import sys, torch
from planner.schema.model import Linear, Unit
def resident(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
before = set(sys.modules)
from planner.model.build import build_unit
new = set(sys.modules) - before
unit = Unit("unit", (Linear("linear", 64),))
build_unit(unit, (64,), torch.Generator().manual_seed(0))(torch.zeros(2, 64)).sum().backward()
big = Unit("unit", (Linear("linear", 8192),))
start = resident("VmRSS:")
open("/proc/self/clear_refs", "w").write("5")
module = build_unit(big, (8192,), GENERATOR)
print(resident("VmHWM:") - start)
print(*sorted(new))
print(*sorted(set(sys.modules) - before - new))
print(*sorted({"torch._dynamo", "torch._inductor", "sympy", "pydantic"} & set(sys.modules)))
"""
WEIGHTS = 4 * 8192 * 8192


def child(generator: str) -> list[str]:
    program = CHILD.replace("GENERATOR", generator)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return ran.stdout.split("\n")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident bytes are read from /proc")
def test_building_costs_the_weights_once_and_nothing_before_they_are_loaded() -> None:
    assert int(child("None")[0]) < WEIGHTS // 64
    assert WEIGHTS <= int(child("torch.Generator().manual_seed(0)")[0]) + 2**20 < WEIGHTS * 65 // 64


def test_building_brings_nothing_into_the_process_but_our_own_small_modules() -> None:
    _, imported, later, heavy, *_ = child("None")
    assert imported.split() == [
        "planner.model",
        "planner.model.activations",
        "planner.model.bfloat16",
        "planner.model.build",
        "planner.model.interpreter",
        "planner.model.shapes",
    ]
    assert later == ""
    assert heavy == ""


@pytest.mark.parametrize("first", [True, False])
def test_a_unit_in_bfloat16_is_torchs_autocast_around_it(first: bool) -> None:
    unit = Unit("some", (Residual("residual", (CONV, NORM, RELU, CONV), (CONV,)), RELU, Pool2d("max_pool2d", 2, 2)))
    half, plain = (build_unit(unit, (3, 8, 8), seeded(1), dtype) for dtype in ("bfloat16", "float32"))
    data = torch.randn(4, 3, 8, 8, generator=seeded(2)).to(torch.float32 if first else torch.bfloat16)
    leaves = data.clone().requires_grad_(), data.clone().requires_grad_()
    output = half(leaves[0])
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        expected = plain(leaves[1])
    assert output.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(output, expected)
    for result in (output, expected):
        result.backward(torch.ones_like(result))
    assert same(leaves[0].grad, leaves[1].grad)
    assert [name for name, _ in half.named_parameters()] == [name for name, _ in plain.named_parameters()]
    for mine, other in zip(half.parameters(), plain.parameters(), strict=True):
        assert mine.dtype == torch.float32 and mine.grad is not None and mine.grad.dtype == torch.float32
        assert same(mine.grad, other.grad)


def test_a_unit_without_arithmetic_of_its_own_gives_bfloat16_all_the_same() -> None:
    unit = build_unit(Unit("pool", (Pool2d("max_pool2d", 2, 2),)), (1, 4, 4), dtype="bfloat16")
    assert unit(torch.rand(2, 1, 4, 4)).dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("layer", [Conv2d("conv2d", 64, 3, padding=1), Linear("linear", 64)])
def test_no_copy_of_the_weights_in_bfloat16_waits_for_backward(layer: Conv2d | Linear) -> None:
    shape: Shape = (64, 2, 2) if isinstance(layer, Conv2d) else (256,)
    unit = build_unit(Unit("one", (layer,)), shape, seeded(1), "bfloat16")
    weights = {parameter.untyped_storage().data_ptr() for parameter in unit.parameters()}
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.detach())
        return tensor.detach()

    x = torch.rand(2, *shape, dtype=torch.bfloat16).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = unit(x)
    own = [tensor for tensor in saved if tensor.untyped_storage().data_ptr() not in weights]
    assert [tensor.untyped_storage().data_ptr() for tensor in own] == [x.untyped_storage().data_ptr()]
    output.sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.bfloat16
