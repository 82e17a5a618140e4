"""Networks by name, in the same form as a description in a file: a name, an input and a number of classes make a model.

Where torchvision (or else timm) has a network, the weights have its names and shapes, so that published weights fit.
"""

from __future__ import annotations

from difflib import get_close_matches
from types import MappingProxyType

from planner.errors import ModelError
from planner.model.zoo.base import SMALL, Input, Maker, ZooNetwork, by_size
from planner.model.zoo.compact import densenet121, shufflenetv2, squeezenet
from planner.model.zoo.convnext import convnext_atto, convnext_tiny
from planner.model.zoo.layered import cnn6, small_mobilenetv2, small_resnet, small_vgg
from planner.model.zoo.mobile import LARGE_BNECKS, SMALL_BNECKS, efficientnet_b0, mobilenetv2, mobilenetv3
from planner.model.zoo.patches import mlp_mixer_s, vit_tiny
from planner.model.zoo.resnet import cifar_resnet, resnet, wide_resnet
from planner.model.zoo.text import gpt_nano
from planner.model.zoo.tiny import dscnn_kws, mlp, resnet8
from planner.model.zoo.vgg import VGG_COUNTS, vgg_bn
from planner.operators.base import image, show
from planner.schema.model import Model, ZooReference
from planner.tasks.kinds import CLASSIFICATION

__all__ = ["ZOO", "Input", "ZooNetwork", "from_zoo", "nearest", "unit_names"]

_CIFAR = "for small images: 3×3 convolution first, no pool behind it"
_STRIDES = "for small images: the first two halvings left out"
_PATCHES = "for small images: patches of {}×{} instead of {}×{}"


def _torchvision(name: str, make: Maker, small: str, layered: Maker | None = None) -> ZooNetwork:
    """One that torchvision has; below 64×64 a variant of it, or the one in layers."""
    theirs = f"torchvision's {name}"
    if layered is None:
        return ZooNetwork(make, theirs, f"{theirs} {small}")
    other = f"{theirs} {small}; made of layers below {SMALL}×{SMALL}"
    return ZooNetwork(by_size(layered, make), theirs, other, make)


def _timm(names: str, make: Maker, small: int, large: int) -> ZooNetwork:
    """One that timm has."""
    return ZooNetwork(make, f"timm's {names}", f"timm's {names} {_PATCHES.format(small, small, large, large)}")


_RESNET18, _RESNET34 = (2, 2, 2, 2), (3, 4, 6, 3)

ZOO: MappingProxyType[str, ZooNetwork] = MappingProxyType(
    {
        "cnn6": ZooNetwork(cnn6, "five convolutions and a classifier, to try things with"),
        **{
            name: ZooNetwork(
                small_vgg(counts),
                f"for small images: one linear layer behind batch norms (torchvision's is {name}-bn)",
            )
            for name, counts in VGG_COUNTS.items()
        },
        **{f"{name}-bn": ZooNetwork(vgg_bn(counts), f"torchvision's {name}_bn") for name, counts in VGG_COUNTS.items()},
        "resnet18": _torchvision("resnet18", resnet(_RESNET18, bottleneck=False), _CIFAR, small_resnet(_RESNET18)),
        "resnet34": _torchvision("resnet34", resnet(_RESNET34, bottleneck=False), _CIFAR, small_resnet(_RESNET34)),
        "resnet50": _torchvision("resnet50", resnet(_RESNET34, bottleneck=True), _CIFAR),
        "resnet8": ZooNetwork(resnet8, "MLPerf Tiny's image classification"),
        **{
            f"resnet{depth}": ZooNetwork(cifar_resnet(depth), "He et al.'s for CIFAR-10, shortcuts without parameters")
            for depth in (20, 32, 44, 56)
        },
        **{
            f"wide-resnet-28-{factor}": ZooNetwork(
                wide_resnet(factor), f"Wide ResNet for CIFAR, {factor} times as wide"
            )
            for factor in (2, 4, 8, 10)
        },
        "mobilenetv2": _torchvision("mobilenet_v2", mobilenetv2, _STRIDES, small_mobilenetv2),
        "mobilenetv3-small": _torchvision("mobilenet_v3_small", mobilenetv3(SMALL_BNECKS, 1024), _STRIDES),
        "mobilenetv3-large": _torchvision("mobilenet_v3_large", mobilenetv3(LARGE_BNECKS, 1280), _STRIDES),
        "efficientnet-b0": _torchvision("efficientnet_b0", efficientnet_b0, _STRIDES),
        "shufflenetv2": _torchvision("shufflenet_v2_x1_0", shufflenetv2, _STRIDES),
        "squeezenet": _torchvision("squeezenet1_1", squeezenet, _STRIDES),
        "densenet121": _torchvision("densenet121", densenet121, _CIFAR),
        "convnext-tiny": _torchvision("convnext_tiny", convnext_tiny, _PATCHES.format(2, 2, 4, 4)),
        "convnext-atto": _timm("convnext_atto", convnext_atto, 2, 4),
        "vit-tiny": _timm("vit_tiny_patch16_224", vit_tiny, 4, 16),
        "deit-tiny": _timm("deit_tiny_patch16_224", vit_tiny, 4, 16),
        "mlp-mixer-s": _timm("mixer_s16_224", mlp_mixer_s, 4, 16),
        "dscnn-kws": ZooNetwork(dscnn_kws, "MLPerf Tiny's keyword spotting", input=(1, 49, 10), classes=12),
        "mlp": ZooNetwork(
            mlp, "that of PyTorch's quickstart: two hidden layers of 512", input=(1, 28, 28), takes="any"
        ),
        "gpt-nano": ZooNetwork(
            gpt_nano,
            "minGPT's gpt-nano without dropout: which token is the next, at every place",
            input=(64,),
            classes=256,
            takes="tokens",
        ),
    }
)
"""Every network of the zoo."""


def nearest(name: str) -> str:
    """The names that a person may have meant, in words, and where all of them are."""
    found = get_close_matches(name[:60].lower().replace("_", "-"), ZOO, 3, 0.5)
    all_of_them = f"`neuroflux models` lists its {len(ZOO)} networks"
    return f"nearest: {', '.join(found)}; {all_of_them}" if found else all_of_them


def from_zoo(name: str, shape: Input | None = None, classes: int | None = None) -> Model:
    """The network `name` for this input and number of classes; what is not said is what it is made for.

    Raises ModelError: an unknown name (those like it are listed), an input or number of classes out of range.
    """
    network = ZOO.get(name)
    if network is None:
        raise ModelError(f"no network called {name[:60]!r} is in the zoo ({nearest(name)})")
    shape = network.input if shape is None else shape
    classes = network.classes if classes is None else classes
    try:
        least = CLASSIFICATION.least_outputs  # a document means classes; here one number may be meant
        ZooReference("model/1", name, shape, least if classes == 1 else classes)  # checks the ranges
        if network.takes == "images":
            image(shape)
        elif network.takes == "tokens" and len(shape) != 1:
            raise ValueError(f"needs one number, how many tokens a sample has, not {show(shape)}")
    except ValueError as error:
        raise ModelError(f"{name}: {error}") from None
    try:
        return network.make(name, shape, classes)
    except ModelError as error:
        if str(error).startswith(name):
            raise
        named = ModelError(f"{name}: {error}")
        named.unit = error.unit
        raise named from None


def unit_names(model: Model) -> tuple[tuple[str, ...], ...]:
    """What others call the weights of a network that the zoo makes of layers: for each unit, in the order of its state.

    Empty where it is no such network, and for a unit that is not the zoo's (an exit's head).
    """
    network = ZOO.get(model.name)
    if network is None or network.named is None or model.schema != "model/1" or len(model.input) != 3:
        return ()
    own = from_zoo(model.name, model.input, model.classes).units
    named = network.named(model.name, model.input, model.classes)
    names: list[list[str]] = [[] for _ in named.units]
    for stored, tensor in named.graph_tensors():
        names[int(stored.split(".")[1])].append(tensor.name)
    pairs = zip(model.units, own, names, strict=False)
    return tuple(tuple(found) if unit == same else () for unit, same, found in pairs)
