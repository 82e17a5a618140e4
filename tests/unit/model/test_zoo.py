"""Networks for small images against published parameter counts and the tables of the papers; all as documents."""

from __future__ import annotations

from itertools import pairwise

import pytest

from planner.errors import ModelError
from planner.model.build import build_unit
from planner.model.shapes import Shape, model_sizes
from planner.model.zoo import ZOO, from_zoo
from planner.schema.codec import decode, encode
from planner.schema.model import Conv2d, Model, Pool2d, Residual

# Simonyan and Zisserman, 2015, table 1, columns A, B, D and E: filters of the convolutions, stage by stage.
VGG = {
    "vgg11": [64, 128, 256, 256, 512, 512, 512, 512],
    "vgg13": [64, 64, 128, 128, 256, 256, 512, 512, 512, 512],
    "vgg16": [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
    "vgg19": [64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512],
}
RESNET_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
# Sandler et al., 2018, table 2: expansion, channels and repetitions of the bottlenecks.
MOBILENETV2 = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]

PUBLISHED = {
    # As published in many places for kuangliu/pytorch-cifar, less the biases its VGG convolutions have, one per filter:
    # batch normalisation makes them superfluous.
    "vgg11": 9_231_114 - sum(VGG["vgg11"]),
    "vgg13": 9_416_010 - sum(VGG["vgg13"]),
    "vgg16": 14_728_266 - 4_224,
    "vgg19": 20_040_522 - sum(VGG["vgg19"]),
    # The same source; these have no superfluous biases.
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    # torchvision's documentation of mobilenet_v2 (1000 classes); strides do not count.
    "mobilenetv2": 3_504_872 - 990 * (1280 + 1),
}


def parameters(model: Model) -> int:
    return sum(sizes.parameters for sizes in model_sizes(model))


def vgg_formula(name: str, channels: int, classes: int) -> int:
    """9·in·out weights and 2·out of the normalisation for each convolution; a linear layer over 512 features."""
    total = 0
    for filters in VGG[name]:
        total += 9 * channels * filters + 2 * filters
        channels = filters
    return total + 512 * classes + classes


def resnet_formula(name: str, channels: int, classes: int) -> int:
    """Stem; two convolutions per block; a 1×1 projection where the width changes; a linear layer over 512 features."""
    total, inside = 9 * channels * 64 + 2 * 64, 64
    for width, blocks in zip((64, 128, 256, 512), RESNET_BLOCKS[name], strict=True):
        for _ in range(blocks):
            total += 9 * inside * width + 9 * width * width + 4 * width
            total += (inside * width + 2 * width) if inside != width else 0
            inside = width
    return total + 512 * classes + classes


def mobilenet_formula(name: str, channels: int, classes: int) -> int:
    """Per bottleneck: a 1×1 convolution to t·in channels (none for t = 1), 9 weights for each, a 1×1 convolution out;
    two numbers of the normalisation for each output of each."""
    total, inside = 9 * channels * 32 + 2 * 32, 32
    for expansion, width, count in MOBILENETV2:
        for _ in range(count):
            hidden = expansion * inside
            total += (inside * hidden + 2 * hidden) if expansion > 1 else 0
            total += 9 * hidden + 2 * hidden + hidden * width + 2 * width
            inside = width
    return total + 320 * 1280 + 2 * 1280 + 1280 * classes + classes


FORMULAS = {
    **dict.fromkeys(VGG, vgg_formula),
    **dict.fromkeys(RESNET_BLOCKS, resnet_formula),
    "mobilenetv2": mobilenet_formula,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name: str) -> None:
    assert parameters(from_zoo(name, (3, 32, 32), 10)) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("shape", "classes"), [((3, 32, 32), 10), ((1, 28, 28), 10), ((3, 63, 96), 200), ((4, 40, 28), 2)]
)
@pytest.mark.parametrize("name", FORMULAS)
def test_parameters_follow_the_formula(name: str, shape: tuple[int, int, int], classes: int) -> None:
    assert parameters(from_zoo(name, shape, classes)) == FORMULAS[name](name, shape[0], classes)


def test_the_small_one_is_small() -> None:
    widths = [3, 32, 32, 64, 64, 128]
    expected = sum(9 * a * b + 2 * b for a, b in pairwise(widths)) + 128 * 10 + 10
    assert parameters(from_zoo("cnn6", (3, 32, 32), 10)) == expected
    assert len(from_zoo("cnn6", (3, 32, 32), 10).units) == 6


@pytest.mark.parametrize("name", FORMULAS)
def test_torch_counts_the_same_parameters_in_what_is_built(name: str) -> None:
    model = from_zoo(name, (3, 32, 32), 10)
    shape: Shape = model.input
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        module = build_unit(unit, shape)
        assert sum(parameter.numel() for parameter in module.parameters()) == sizes.parameters
        shape = sizes.output


@pytest.mark.parametrize("name", VGG)
def test_vgg_has_the_convolutions_of_the_paper_and_five_pools(name: str) -> None:
    layers = [layer for unit in from_zoo(name, (3, 32, 32), 10).units for layer in unit.layers]
    assert [layer.out_channels for layer in layers if isinstance(layer, Conv2d)] == VGG[name]
    assert sum(isinstance(layer, Pool2d) for layer in layers) == 5


@pytest.mark.parametrize(("name", "count"), [("resnet18", 8), ("resnet34", 16)])
def test_resnet_has_the_blocks_of_the_paper_and_halves_three_times(name: str, count: int) -> None:
    model = from_zoo(name, (3, 32, 32), 10)
    assert len(model.units) == 1 + count + 1
    extents = [sizes.output[1] for sizes in model_sizes(model)[:-1]]
    assert sorted(set(extents), reverse=True) == [32, 16, 8, 4]


@pytest.mark.parametrize(("extent", "last"), [(32, 4), (28, 4), (60, 8)])
def test_mobilenet_has_the_bottlenecks_of_the_paper_and_halves_three_times(extent: int, last: int) -> None:
    model = from_zoo("mobilenetv2", (3, extent, extent), 10)
    outputs = [sizes.output for sizes in model_sizes(model)]
    widths = [width for _, width, count in MOBILENETV2 for _ in range(count)]
    assert [output[0] for output in outputs] == [32, *widths, 1280, 10]
    assert len({output[1] for output in outputs[:-1]}) == 4
    assert outputs[-2] == (1280, last, last)


def test_mobilenet_adds_its_input_where_the_shape_stays() -> None:
    model = from_zoo("mobilenetv2", (3, 32, 32), 10)
    shapes = [model.input, *(sizes.output for sizes in model_sizes(model))]
    blocks = range(1, len(model.units) - 2)
    added = {index for index in blocks if isinstance(model.units[index].layers[0], Residual)}
    assert added == {index for index in blocks if shapes[index] == shapes[index + 1]}
    assert len(added) == sum(count - 1 for _, _, count in MOBILENETV2)


@pytest.mark.parametrize(
    ("shape", "extents"),
    [
        ((3, 32, 32), [16, 8, 4, 2, 1]),
        ((3, 33, 47), [16, 8, 4, 2, 1]),
        ((1, 28, 28), [14, 7, 4, 2, 1]),
        ((1, 31, 31), [16, 8, 4, 2, 1]),
        ((3, 28, 64), [14, 7, 4, 2, 1]),
    ],
)
def test_vgg_pools_round_up_below_32(shape: tuple[int, int, int], extents: list[int]) -> None:
    model = from_zoo("vgg11", shape, 10)
    pooled = [
        sizes.output[1]
        for unit, sizes in zip(model.units, model_sizes(model), strict=True)
        if any(isinstance(layer, Pool2d) for layer in unit.layers)
    ]
    assert pooled == extents


@pytest.mark.parametrize("shape", [(3, 27, 32), (3, 32, 27), (1, 1, 1)])
@pytest.mark.parametrize("name", VGG)
def test_vgg_refuses_images_below_28(name: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ModelError, match=rf"^{name}: needs images of at least 28×28, not {shape[1]}×{shape[2]}$"):
        from_zoo(name, shape, 10)


@pytest.mark.parametrize("name", ["cnn6", "resnet18", "mobilenetv2"])
def test_the_others_take_a_single_pixel(name: str) -> None:
    assert model_sizes(from_zoo(name, (1, 1, 1), 2))[-1].output == (2,)


def test_an_unknown_name_is_answered_with_those_like_it() -> None:
    with pytest.raises(
        ModelError,
        match=r"^no network called 'vgg12' is in the zoo \(nearest: vgg1\d, vgg1\d, vgg1\d; `neuroflux models` ",
    ):
        from_zoo("vgg12", (3, 32, 32), 10)
    with pytest.raises(ModelError, match=r"\(nearest: mobilenetv3-small, "):
        from_zoo("MobileNet_V3_Small")
    with pytest.raises(ModelError, match=rf"is in the zoo \(`neuroflux models` lists its {len(ZOO)} networks\)$"):
        from_zoo("~" * 1000)


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        ((3, 32, 32), 0, "resnet18: classes is 0; it must lie between 2 and 65536"),
        ((3, 32, 32), 10**9, "resnet18: classes is 1000000000; it must lie between 2 and 65536"),
        ((0, 32, 32), 10, r"resnet18: input\[0\] \(channels\) is 0; it must lie between 1 and 65536"),
        ((3, 32, 10**6), 10, r"resnet18: input\[2\] \(width\) is 1000000; it must lie between 1 and 8192"),
    ],
)
def test_arguments_out_of_range_are_bad_input(shape: tuple[int, int, int], classes: int, message: str) -> None:
    with pytest.raises(ModelError, match=f"^{message}$"):
        from_zoo("resnet18", shape, classes)


@pytest.mark.parametrize("name", ZOO)
def test_a_network_of_the_zoo_is_a_document_like_any_other(name: str) -> None:
    model = from_zoo(name, (96,) if ZOO[name].takes == "tokens" else (1, 32, 32), 47)
    assert model.name == name
    assert decode(Model, encode(model)) == model
