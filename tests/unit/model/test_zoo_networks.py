"""Networks of the zoo that are unit graphs: counts that others published, names, and both forms of each."""

from __future__ import annotations

from math import prod

import pytest
import torch

from planner.errors import ModelError
from planner.model.build import build_unit
from planner.model.flops import model_flops
from planner.model.shapes import Shape, model_sizes
from planner.model.tokens import token_limit
from planner.model.zoo import ZOO, Input, from_zoo
from planner.schema.model import Model

# At 3×224×224 and 1000 classes. torchvision's: `num_params` of its weights, as its documentation lists them. timm's:
# counted in `timm.create_model(name).parameters()` of 1.0.31 (its tables round to 5.72 M, 3.70 M and 18.53 M).
# `python -m benchmarks.doors.zoo_names` asks the packages for all of them, with names and outputs.
PUBLISHED = {
    "vgg11-bn": 132_868_840,
    "vgg13-bn": 133_053_736,
    "vgg16-bn": 138_365_992,
    "vgg19-bn": 143_678_248,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "mobilenetv2": 3_504_872,
    "mobilenetv3-small": 2_542_856,
    "mobilenetv3-large": 5_483_032,
    "efficientnet-b0": 5_288_548,
    "shufflenetv2": 2_278_604,
    "squeezenet": 1_235_496,
    "densenet121": 7_978_856,
    "convnext-tiny": 28_589_128,
    "convnext-atto": 3_695_520,
    "vit-tiny": 5_717_416,
    "deit-tiny": 5_717_416,
    "mlp-mixer-s": 18_528_264,
}

# Billions of multiply-adds at 3×224×224, in convolutions and linear layers alone: `_ops` of torchvision's weights.
PUBLISHED_OPERATIONS = {
    "vgg11-bn": 7.609,
    "vgg16-bn": 15.470,
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "mobilenetv2": 0.301,
    "mobilenetv3-small": 0.057,
    "mobilenetv3-large": 0.217,
    "efficientnet-b0": 0.386,
    "shufflenetv2": 0.145,
    "squeezenet": 0.349,
    "densenet121": 2.834,
    "convnext-tiny": 4.456,
}

# At the input that each is made for.
PUBLISHED_SMALL = {
    # akamaster/pytorch_resnet_cifar10, README; He et al., 2016, table 6 rounds to 0.27 M and 0.85 M.
    "resnet20": 269_722,
    "resnet56": 853_018,
    # xternalz/WideResNet-pytorch prints it; Zagoruyko and Komodakis, 2016, table 4: 36.5 M.
    "wide-resnet-28-10": 36_479_194,
    # PyTorch's quickstart: 784·512 + 512 + 512·512 + 512 + 512·10 + 10.
    "mlp": 669_706,
}

# mlcommons/tiny, what Keras' `model.summary()` counts in all: moving averages are among them.
KERAS = {"resnet8": 78_666, "dscnn-kws": 24_908}


def parameters(model: Model) -> int:
    return sum(sizes.parameters for sizes in model_sizes(model))


def tensors(model: Model) -> dict[str, Shape]:
    return {tensor.name: tensor.shape for _, tensor in model.graph_tensors()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name: str) -> None:
    assert parameters(from_zoo(name, (3, 224, 224), 1000)) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED_OPERATIONS)
def test_multiply_adds_are_those_published_and_a_few_of_other_layers(name: str) -> None:
    published = PUBLISHED_OPERATIONS[name]
    assert published - 0.0005 <= model_flops(from_zoo(name, (3, 224, 224), 1000)) / 1e9 <= 1.06 * published


@pytest.mark.parametrize("name", PUBLISHED_SMALL)
def test_parameters_of_small_ones_are_those_published(name: str) -> None:
    assert parameters(from_zoo(name)) == PUBLISHED_SMALL[name]


@pytest.mark.parametrize("name", KERAS)
def test_parameters_and_averages_are_those_that_keras_counts(name: str) -> None:
    assert sum(sizes.parameters + sizes.buffers for sizes in model_sizes(from_zoo(name))) == KERAS[name]


@pytest.mark.parametrize("factor", [2, 4, 8, 10])
def test_wide_resnets_grow_with_their_factor(factor: int) -> None:
    """Per block 9·in·out + 9·out², its two norms, a 1×1 convolution where the width changes."""
    total, inside = 9 * 3 * 16, 16
    for width in (16 * factor, 32 * factor, 64 * factor):
        for _ in range(4):
            total += 9 * inside * width + 9 * width**2 + 2 * inside + 2 * width + (inside != width) * inside * width
            inside = width
    total += 2 * inside + inside * 10 + 10
    assert parameters(from_zoo(f"wide-resnet-28-{factor}")) == total


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_cifar_resnets_have_the_layers_of_their_name(depth: int) -> None:
    names = tensors(from_zoo(f"resnet{depth}"))
    weights = [shape for name, shape in names.items() if name.endswith("weight") and len(shape) > 1]
    assert len(weights) == depth
    assert parameters(from_zoo(f"resnet{depth}")) == sum(
        prod(shape) for name, shape in names.items() if name.endswith(("weight", "bias"))
    )


def test_resnet18_has_torchvisions_names_and_shapes() -> None:
    """Written down from torchvision's `resnet.py`."""
    expected: dict[str, Shape] = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 512), "fc.bias": (1000,)}
    norms: dict[str, int] = {"bn1": 64}
    inside = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            path = f"layer{stage}.{block}"
            expected[f"{path}.conv1.weight"] = (width, inside, 3, 3)
            expected[f"{path}.conv2.weight"] = (width, width, 3, 3)
            norms |= {f"{path}.bn1": width, f"{path}.bn2": width}
            if inside != width:
                expected[f"{path}.downsample.0.weight"] = (width, inside, 1, 1)
                norms[f"{path}.downsample.1"] = width
            inside = width
    for name, width in norms.items():
        expected |= {f"{name}.{each}": (width,) for each in ("weight", "bias", "running_mean", "running_var")}
        expected[f"{name}.num_batches_tracked"] = ()
    assert tensors(from_zoo("resnet18", (3, 224, 224), 1000)) == expected


# What differs in the form for small images: what sees pixels first, positions, mixing of patches, and classes.
BEGINNINGS = ("conv1.", "conv0.", "features.0.0.", "stem.", "patch_embed.", "pos_embed", "mlp_tokens.")


@pytest.mark.parametrize("name", [name for name in PUBLISHED if from_zoo(name).schema == "model/2"])
def test_published_weights_fit_the_form_for_small_images_but_for_its_beginning(name: str) -> None:
    large, small = tensors(from_zoo(name, (3, 224, 224), 1000)), tensors(from_zoo(name, (3, 32, 32), 1000))
    assert list(small) == list(large)
    others = {each for each in large if small[each] != large[each]}
    assert all(any(word in f"{each}." for word in BEGINNINGS) for each in others), others


@pytest.mark.parametrize(
    "name",
    [
        "vgg11-bn",
        "resnet18",
        "resnet50",
        "resnet20",
        "wide-resnet-28-2",
        "resnet8",
        "dscnn-kws",
        "mlp",
        "mobilenetv2",
        "mobilenetv3-small",
        "efficientnet-b0",
        "shufflenetv2",
        "squeezenet",
        "densenet121",
        "convnext-tiny",
        "convnext-atto",
        "vit-tiny",
        "mlp-mixer-s",
    ],
)
@torch.no_grad()
def test_torch_finds_the_same_shapes(name: str) -> None:
    """On torch's device without numbers, where a network of any size takes little time."""
    model = from_zoo(name, (3, 64, 64) if name in PUBLISHED else None)
    with torch.device("meta"):
        x = torch.zeros(2, *model.input)
        for unit, sizes in zip(model.units, model_sizes(model), strict=True):
            module = build_unit(unit, tuple(x.shape[1:]))
            assert sum(each.numel() for each in module.parameters()) == sizes.parameters
            x = module(x)
            assert tuple(x.shape[1:]) == sizes.output


def test_gpt_nano_is_as_large_as_mingpts() -> None:
    """For each of 48 numbers: tokens and places; blocks of four matrices, their biases, and two norms; a norm. Its demo
    (3 tokens, 11 places) prints 0.09M, for all but the last matrix."""
    width, tokens, places = 48, 3, 11
    block = width * 3 * width + 3 * width + width * width + width + 2 * (4 * width * width) + 5 * width + 4 * width
    inner = tokens * width + places * width + 3 * block + 2 * width
    model = from_zoo("gpt-nano", (places,), tokens)
    assert parameters(model) == inner + tokens * width
    assert round(inner / 1e6, 2) == 0.09
    assert (model.task.kind, model.input_dtype, model.output) == ("next-token", "int64", (places, tokens))
    assert token_limit(model) == tokens


@torch.no_grad()
def test_gpt_nano_looks_at_no_later_token() -> None:
    model, generator = from_zoo("gpt-nano", (6,), 5), torch.Generator().manual_seed(0)
    tokens = torch.tensor([[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 0, 4]])
    x: torch.Tensor = tokens
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        x = build_unit(unit, tuple(x.shape[1:]), generator)(x)
        assert tuple(x.shape[1:]) == sizes.output
    assert torch.allclose(x[0, :4], x[1, :4], atol=1e-6)
    assert not torch.allclose(x[0, 4], x[1, 4], atol=1e-6)


@pytest.mark.parametrize("name", ["resnet8", "dscnn-kws", "resnet20", "mlp"])
def test_a_step_gives_every_parameter_a_gradient(name: str) -> None:
    model, generator = from_zoo(name), torch.Generator().manual_seed(0)
    x, built = torch.randn(2, *model.input, generator=generator), []
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        built.append(build_unit(unit, tuple(x.shape[1:]), generator))
        x = built[-1](x)
        assert tuple(x.shape[1:]) == sizes.output
    x.square().sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    for module in built:
        assert all(each.grad is not None and bool(each.grad.any()) for each in module.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        (
            "resnet18",
            (3, 32, 32),
            "torchvision's resnet18 for small images: 3×3 convolution first, no pool behind it; ",
        ),
        ("resnet18", (3, 64, 64), "torchvision's resnet18"),
        ("resnet50", (3, 224, 63), "torchvision's resnet50 for small images: 3×3 convolution first"),
        ("mobilenetv2", (3, 224, 224), "torchvision's mobilenet_v2"),
        ("vgg16", (3, 224, 224), "for small images: one linear layer behind batch norms (torchvision's is vgg16-bn)"),
        ("vit-tiny", (3, 32, 32), "timm's vit_tiny_patch16_224 for small images: patches of 4×4 instead of 16×16"),
    ],
)
def test_each_says_which_form_an_input_gets(name: str, shape: Input, said: str) -> None:
    assert ZOO[name].form_at(shape).startswith(said)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("vit-tiny", (3, 30, 32), "vit-tiny: cuts images into patches of 4×4; 30×32 is no multiple of that"),
        ("mlp-mixer-s", (3, 100, 96), "mlp-mixer-s: cuts images into patches of 16×16; 100×96 is no multiple of that"),
        ("vgg16-bn", (1, 28, 28), "vgg16-bn: needs images of at least 32×32, not 28×28"),
        ("gpt-nano", (3, 32, 32), "gpt-nano: needs one number, how many tokens a sample has, not 3×32×32"),
        ("resnet50", (9, 128), "resnet50: needs channels, rows and columns, has 9×128"),
        ("densenet121", (3, 4, 4), r"densenet121: unit \d+: features.transition3: avg_pool2d\(.*"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_in_words(name: str, shape: Input, message: str) -> None:
    with pytest.raises(ModelError, match=f"^{message}$"):
        from_zoo(name, shape)
