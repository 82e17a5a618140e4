"""Layers seen within a unit, against what arithmetic says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import nn

from planner.model.build import build_unit
from planner.profiler.child.audit import unexplained_bytes
from planner.profiler.child.layers import LayerFigures, Seen, layer_paths, see_layers
from planner.profiler.child.meter import CpuMeter, Phase
from planner.schema.common import Dtype
from planner.schema.model import (
    Activation,
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

SAMPLES = 4
FLOAT = 4


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def _conv(filters: int) -> Conv2d:
    return Conv2d("conv2d", filters, 3, padding=1, bias=False)


NORM, RELU = BatchNorm2d("batchnorm2d"), Activation("relu")
POOLED = Unit("pooled", (_conv(8), NORM, RELU, Pool2d("max_pool2d", 2, 2)))
BLOCK = Unit("block", (Residual("residual", (_conv(8), NORM, RELU, _conv(8), NORM), (_conv(8), NORM)), RELU))
TOP = Unit("top", (Flatten("flatten"), Dropout("dropout"), Linear("linear", 10)))


def _see(unit: Unit, shape: tuple[int, ...]) -> tuple[Seen, dict[str, LayerFigures], nn.Module]:
    """What was seen, and the same by the layers' names."""
    module = build_unit(unit, shape, torch.Generator().manual_seed(0))
    paths = layer_paths(unit)
    inputs = torch.rand(SAMPLES, *shape)
    see_layers(CpuMeter(), module, list(paths), inputs)  # kernels made for the first time allocate more
    seen = see_layers(CpuMeter(), module, list(paths), inputs)
    return seen, {paths[path]: layer for path, layer in seen.layers.items()}, module


def test_layers_are_named_by_operator_and_by_place_where_one_occurs_twice() -> None:
    assert list(layer_paths(BLOCK).values()) == [
        "residual.body.conv2d[0]",
        "residual.body.batchnorm2d[1]",
        "residual.body.relu",
        "residual.body.conv2d[3]",
        "residual.body.batchnorm2d[4]",
        "residual.shortcut.conv2d",
        "residual.shortcut.batchnorm2d",
        "residual",
        "relu",
    ]
    assert list(layer_paths(POOLED)) == ["0", "1", "2", "3"]


def test_each_layer_saves_and_makes_what_arithmetic_says() -> None:
    _, layers, _ = _see(POOLED, (3, 16, 16))
    image, pooled, statistics = FLOAT * SAMPLES * 8 * 16 * 16, SAMPLES * 8 * 8 * 8, 2 * FLOAT * 8
    # The convolution's input was there before, and its output is the normalisation's to save.
    assert layers["conv2d"].saved_bytes == 0
    assert layers["batchnorm2d"].saved_bytes == image + statistics
    assert layers["relu"].saved_bytes == image
    assert layers["max_pool2d"].saved_bytes == 8 * pooled
    assert [layer.output_bytes for layer in layers.values()] == [image, image, 0, FLOAT * pooled]


def test_the_gradient_of_an_in_place_layer_and_of_a_pool_is_one_tensor_each() -> None:
    _, layers, _ = _see(POOLED, (3, 16, 16))
    image = FLOAT * SAMPLES * 8 * 16 * 16
    assert layers["relu"].forward_transient_bytes == 0
    assert layers["relu"].backward_transient_bytes == image
    assert image <= layers["max_pool2d"].backward_transient_bytes <= 2 * image


def test_library_scratch_belongs_to_convolutions_alone() -> None:
    _, layers, _ = _see(POOLED, (3, 16, 16))
    assert all(layer.scratch_bytes == 0 for name, layer in layers.items() if name != "conv2d")


def test_a_residuals_sum_makes_a_tensor_only_where_it_may_not_overwrite_one() -> None:
    _, layers, _ = _see(BLOCK, (4, 8, 8))
    assert layers["residual"].output_bytes == 0  # added into the body's output
    kept = Unit("kept", (Residual("residual", (RELU,)),))
    _, layers, _ = _see(kept, (4, 8, 8))
    assert layers["residual"].output_bytes == FLOAT * SAMPLES * 4 * 8 * 8  # the body's output is saved by its relu
    assert layers["residual"].forward_transient_bytes == FLOAT * SAMPLES * 4 * 8 * 8


def test_a_linear_layers_backward_makes_two_gradients_and_nothing_lies_outside_of_layers() -> None:
    seen, layers, _ = _see(TOP, (4, 8, 8))
    features = 4 * 8 * 8
    given, weight, bias = FLOAT * SAMPLES * features, FLOAT * 10 * features, FLOAT * 10
    assert layers["linear"].backward_transient_bytes == pytest.approx(given + weight + bias, abs=2 * bias)
    assert layers["flatten"] == LayerFigures(
        forward_seconds=layers["flatten"].forward_seconds, backward_seconds=layers["flatten"].backward_seconds
    )
    assert seen.unattributed_bytes == 0


@pytest.mark.parametrize(("unit", "shape"), [(POOLED, (3, 16, 16)), (BLOCK, (4, 8, 8)), (TOP, (4, 8, 8))])
def test_what_layers_save_adds_up_to_what_the_allocator_holds(unit: Unit, shape: tuple[int, ...]) -> None:
    seen, _, module = _see(unit, shape)
    assert unexplained_bytes(CpuMeter(), module, torch.rand(SAMPLES, *shape)) == 0
    assert sum(layer.saved_bytes for layer in seen.layers.values()) > 0
    assert all(layer.forward_seconds >= 0 and layer.backward_seconds >= 0 for layer in seen.layers.values())


class _Hidden(torch.autograd.Function):
    """Keeps a tensor behind autograd's back."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        ctx.kept = torch.ones(1000)  # type: ignore[attr-defined]  # what an audit is there to find
        return x.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class _Hiding(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = _Hidden.apply(x)  # type: ignore[no-untyped-call]  # torch gives it no type
        return hidden


class _Repeating(CpuMeter):
    """Runs everything twice, as a meter does that looks for what is never written."""

    def record(self, function: Callable[[], None]) -> list[Phase]:
        super().record(function)
        return super().record(function)


def test_what_is_saved_counts_once_however_often_a_meter_runs_it() -> None:
    module = build_unit(BLOCK, (4, 8, 8), torch.Generator().manual_seed(0))
    assert unexplained_bytes(_Repeating(), module, torch.rand(SAMPLES, 4, 8, 8)) == 0


def test_the_audit_finds_what_autograd_does_not_know() -> None:
    assert unexplained_bytes(CpuMeter(), _Hiding(), torch.rand(2, 5)) == FLOAT * 1000


LAYERS: list[Layer] = [
    _conv(4),
    Conv2d("conv2d", 4, 3, padding=1, groups=4),
    NORM,
    RELU,
    Activation("relu6"),
    Activation("gelu"),
    Activation("silu"),
    Pool2d("max_pool2d", 3, 2, padding=1),
    Pool2d("avg_pool2d", 2, 2, ceil_mode=True),
    Dropout("dropout", 0.3),
    Flatten("flatten"),
]


@pytest.mark.parametrize("dtype", get_args(Dtype))
@pytest.mark.parametrize("after", LAYERS, ids=lambda layer: layer.op)
@pytest.mark.parametrize("before", LAYERS[:-1], ids=lambda layer: layer.op)
def test_nothing_is_unexplained_whatever_follows_whatever(before: Layer, after: Layer, dtype: Dtype) -> None:
    unit = Unit("pair", (before, after))
    module = build_unit(unit, (4, 9, 9), torch.Generator().manual_seed(0), dtype)
    assert unexplained_bytes(CpuMeter(), module, torch.rand(3, 4, 9, 9).to(getattr(torch, dtype))) == 0
