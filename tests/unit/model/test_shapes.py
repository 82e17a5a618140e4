"""Shapes and counts against torch, and the gate against descriptions that would not fit into memory."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import nn

from planner import limits
from planner.errors import DocumentError, ModelError
from planner.model.build import build_unit
from planner.model.load import model_from_json
from planner.model.shapes import Shape, Sizes, layer_output, model_sizes, unit_sizes
from planner.model.zoo import ZOO, from_zoo
from planner.schema.codec import decode, encode, parse_json
from planner.schema.model import (
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    Model,
    Pool2d,
    Residual,
    Unit,
)
from tests.unit.model.chains import any_units, fitting_units, images, shapes
from tests.unit.model.reference import Rejected, build


def counted(module: nn.Module) -> tuple[int, int, int]:
    """Parameters, float buffers and counters of a module, as torch holds them."""
    buffers = list(module.buffers())
    return (
        sum(tensor.numel() for tensor in module.parameters()),
        sum(tensor.numel() for tensor in buffers if tensor.is_floating_point()),
        sum(tensor.numel() for tensor in buffers if not tensor.is_floating_point()),
    )


def assert_sizes(sizes: Sizes, module: nn.Module, output: torch.Tensor) -> None:
    assert sizes.output == tuple(output.shape[1:])
    assert (sizes.parameters, sizes.buffers, sizes.counters) == counted(module)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 48, 48), (3, 33, 47)], ids=str)
@pytest.mark.parametrize("name", [name for name in ZOO if from_zoo(name).schema == "model/1"])
@torch.no_grad()
def test_the_zoo_has_the_shapes_and_counts_that_torch_finds(name: str, shape: tuple[int, int, int]) -> None:
    model = from_zoo(name, shape, 10)
    x = torch.zeros(2, *shape)
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        module, x = build(unit.layers, x)
        assert_sizes(sizes, module, x)


@settings(max_examples=400)
@given(any_units, shapes)
@torch.no_grad()
def test_a_chain_holds_exactly_where_torch_runs_it(unit: Unit, shape: Shape) -> None:
    try:
        module, output = build(unit.layers, torch.zeros(2, *shape))
    except Rejected:
        event("rejected")
        with pytest.raises(ModelError, match=r"^unit, layer \d \(\w+\)"):
            unit_sizes(unit, shape)
    else:
        event("accepted")
        assert_sizes(unit_sizes(unit, shape), module, output)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(fitting_units())
@torch.no_grad()
def test_the_sizes_of_chains_that_hold_are_torchs(case: tuple[Unit, Shape]) -> None:
    unit, shape = case
    module, output = build(unit.layers, torch.zeros(2, *shape))
    assert_sizes(unit_sizes(unit, shape), module, output)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(fitting_units())
@torch.no_grad()
def test_the_minimum_micro_batch_is_where_torch_stops_refusing(case: tuple[Unit, Shape]) -> None:
    unit, shape = case
    minimum = unit_sizes(unit, shape).minimum_micro_batch
    module = build_unit(unit, shape, torch.Generator().manual_seed(0))
    module(torch.zeros(minimum, *shape))
    if minimum == 2:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            module(torch.zeros(1, *shape))


@pytest.mark.parametrize("padding", range(4))
@pytest.mark.parametrize("stride", range(1, 6))
@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_pooling_rounds_up_and_down_as_torch_does(
    op: Literal["max_pool2d", "avg_pool2d"], kernel: int, stride: int, padding: int
) -> None:
    if padding > kernel // 2:
        with pytest.raises(ValueError, match="padding is"):
            Pool2d(op, kernel, stride, padding)
        return
    for ceil_mode in (False, True):
        pool = Pool2d(op, kernel, stride, padding, ceil_mode)
        for extent in range(1, 14):
            assert outcome(pool, (1, extent, 9)) == torchs((pool,), (1, extent, 9))


@pytest.mark.parametrize("extent", range(1, 9))
@pytest.mark.parametrize("wanted", range(1, 9))
def test_adaptive_pooling_gives_what_is_asked_for(extent: int, wanted: int) -> None:
    pools = (AdaptivePool2d("adaptive_avg_pool2d", wanted, 1), AdaptivePool2d("adaptive_max_pool2d", 1, wanted))
    for pool in pools:
        assert (
            outcome(pool, (2, extent, extent)) == torchs((pool,), (2, extent, extent)) == (2, pool.height, pool.width)
        )


def outcome(layer: Layer, shape: Shape) -> Shape | None:
    try:
        return layer_output(layer, shape)
    except ModelError:
        return None


def torchs(layers: Sequence[Layer], shape: Shape) -> Shape | None:
    try:
        return tuple(build(layers, torch.zeros(1, *shape))[1].shape[1:])
    except Rejected:
        return None


CLASSIFIER = (Flatten("flatten"), Linear("linear", 10))


def chain(*units: tuple[Layer, ...], shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> Model:
    named = tuple(Unit(f"u{index}", layers) for index, layers in enumerate(units))
    return Model("model/1", "made for a test", shape, classes, named)


def conv(out: int, kernel: int = 1, padding: int = 0, groups: int = 1) -> Conv2d:
    return Conv2d("conv2d", out, kernel, padding=padding, groups=groups)


REFUSED: dict[str, tuple[Model, str]] = {
    "10^12 parameters": (
        chain((conv(16),), (conv(65536), Flatten("flatten"), Linear("linear", 14902)), shape=(3, 32, 32)),
        r"^unit 1: u1, layer 2 \(linear\): more than 4000000000 parameters$",
    ),
    "parameters of many layers": (
        chain((conv(16384),), (conv(16384, 3), conv(16384, 3)), shape=(1, 5, 5)),
        r"^unit 1: u1, layer 1 \(conv2d\): more than 4000000000 parameters$",
    ),
    "parameters of many units": (
        chain(*[(conv(16384, 3, padding=1),)] * 3, CLASSIFIER, shape=(1, 1, 1)),
        r"^unit 2: u2: the model passes 4000000000 parameters here$",
    ),
    "a product beyond 63 bits": (
        chain((conv(1), conv(65536)), shape=(32, 8192, 8192)),
        r"^unit 0: u0, layer 1 \(conv2d\): an output of 65536×8192×8192 per sample is beyond 2147483648$",
    ),
    "an extent grown by padding": (
        chain(*[(conv(1, padding=64),)] * 65, shape=(1, 1, 1)),
        r"^unit 63: u63, layer 0 \(conv2d\): an output of 1×8193×8193 per sample is beyond an extent of 8192$",
    ),
    "nothing left": (
        chain((conv(8, 3), conv(8, 31)), CLASSIFIER, shape=(3, 32, 32)),
        r"^unit 0: u0, layer 1 \(conv2d\): nothing is left of its input \(8×0×0\); the window is larger than it$",
    ),
    "groups": (
        chain((conv(8, groups=3),), CLASSIFIER, shape=(4, 8, 8)),
        r"^unit 0: u0, layer 0 \(conv2d\): 3 groups do not divide 4 → 8 channels$",
    ),
    "an image for a linear layer": (
        chain((conv(8),), (Linear("linear", 10),)),
        r"^unit 1: u1, layer 0 \(linear\): needs a flat input, has 8×32×32; put a flatten before it$",
    ),
    "features for a convolution": (
        chain(CLASSIFIER, (conv(8),)),
        r"^unit 1: u1, layer 0 \(conv2d\): needs channels, rows and columns, has 10$",
    ),
    "a residual that does not meet": (
        chain((conv(8), Residual("residual", (conv(8, 3),))), CLASSIFIER),
        r"^unit 0: u0, layer 1 \(residual\): body gives 8×30×30, shortcut 8×32×32; they must agree$",
    ),
    "a fault inside a shortcut": (
        chain((Residual("residual", (conv(8),), (conv(8, 40),)),), CLASSIFIER),
        r"^unit 0: u0, layer 0 \(residual\) shortcut, layer 0 \(conv2d\): nothing is left",
    ),
    "another width than the classes": (
        chain(CLASSIFIER, classes=11),
        r"^unit 0: u0: gives 10 per sample, but the model has 11 classes; ",
    ),
    "an image at the end": (
        chain((conv(10),)),
        r"^unit 0: u0: gives 10×32×32 per sample, but the model has 10 classes; ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_chain_that_cannot_be_is_refused_with_its_place(case: str) -> None:
    model, message = REFUSED[case]
    with pytest.raises(ModelError, match=message) as refused:
        model_sizes(model)
    assert refused.value.unit == int(message.split()[1].rstrip(":"))


def test_the_case_of_10_to_the_12_parameters_has_that_many() -> None:
    assert 65536 * 32 * 32 * 14902 > 10**12 > limits.MAX_PARAMETERS


def nested(depth: int) -> Residual:
    inner: Layer = conv(3)
    for _ in range(depth):
        inner = Residual("residual", (inner,))
    assert isinstance(inner, Residual)
    return inner


def test_residuals_may_be_nested_four_deep() -> None:
    assert unit_sizes(Unit("deep", (nested(4),)), (3, 4, 4)).output == (3, 4, 4)
    with pytest.raises(ModelError, match=r"^deep, layer 0 \(residual\) body, .*: residuals nested deeper than 4$"):
        unit_sizes(Unit("deep", (nested(5),)), (3, 4, 4))


def test_a_document_nested_without_end_is_refused() -> None:
    text = '{"op":"residual","body":[' * 5000 + '{"op":"relu"}' + "]}" * 5000
    with pytest.raises(DocumentError, match="nested deeper than 32"):
        parse_json(
            '{"schema":"model/1","name":"deep","input":[3,8,8],"classes":2,"units":[{"name":"u","layers":['
            + text
            + "]}]}"
        )


@pytest.mark.parametrize("count", [1025, limits.MAX_LIST_LENGTH, limits.MAX_LIST_LENGTH + 1])
def test_too_many_units_are_refused(count: int) -> None:
    units = ",".join(f'{{"name":"u{index}","layers":[{{"op":"relu"}}]}}' for index in range(count))
    text = f'{{"schema":"model/1","name":"long","input":[3,8,8],"classes":2,"units":[{units}]}}'
    expected = (
        rf"^\$: units: their number is {count}; it must lie between 1 and 1024$"
        if count <= limits.MAX_LIST_LENGTH
        else rf"^\$\.units: {count} items; at most {limits.MAX_LIST_LENGTH} are allowed$"
    )
    with pytest.raises(DocumentError, match=expected):
        decode(Model, parse_json(text))


def test_the_limits_themselves_are_allowed() -> None:
    layers = (conv(3),) * limits.MAX_LAYERS_PER_UNIT
    model = chain(*[layers] * (limits.MAX_UNITS - 1), CLASSIFIER)
    sizes = model_sizes(model)
    assert sum(unit.parameters for unit in sizes) == (limits.MAX_UNITS - 1) * limits.MAX_LAYERS_PER_UNIT * 12 + 30730


def test_huge_descriptions_are_counted_without_torch() -> None:
    program = (
        "import sys; from planner.errors import ModelError; from planner.model.load import model_from_json\n"
        "layers = [{'op': 'conv2d', 'out_channels': 65536, 'kernel': 64, 'padding': 32}] * 2\n"
        "value = {'schema': 'model/1', 'name': 'huge', 'input': [3, 32, 32], 'classes': 2, 'units':"
        " [{'name': 'u', 'layers': layers}]}\n"
        "try: model_from_json(value)\n"
        "except ModelError as error: print(error)\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "unit 0: u, layer 1 (conv2d): more than 4000000000 parameters\nFalse False\n"


@settings(max_examples=200)
@given(st.lists(any_units, min_size=1, max_size=4), images, st.integers(2, 6))
def test_a_described_model_is_read_or_refused_as_input(units: list[Unit], shape: Shape, classes: int) -> None:
    ending = Unit("classifier", (Flatten("flatten"), Linear("linear", classes)))
    named = [{"name": str(index), "layers": encode(unit.layers)} for index, unit in enumerate([*units, ending])]
    value = {"schema": "model/1", "name": "drawn", "input": list(shape), "classes": classes, "units": named}
    try:
        model = model_from_json(value)
    except ModelError as error:
        event("refused")
        assert error.unit is not None and f"unit {error.unit}: {error.unit}" in str(error)
    else:
        event("read")
        x = torch.zeros(2, *shape)
        for unit in model.units:
            _, x = build(unit.layers, x)
        assert x.shape == (2, classes)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 2), (7, 7)])
def test_batch_normalisation_needs_two_values_per_channel(height: int, width: int) -> None:
    sizes = unit_sizes(Unit("norm", (BatchNorm2d("batchnorm2d"),)), (5, height, width))
    assert sizes == Sizes((5, height, width), 10, 10, 1, 2 if math.prod((height, width)) == 1 else 1)
