"""Networks by name, written in `model/1`, so that a zoo name and a description in a file go the same way.

VGG: Simonyan and Zisserman, 2015, table 1 (A, B, D, E), with batch normalisation, so its convolutions need no bias, and
the single linear classifier usual for small images. ResNet: He et al., 2016, table 1, with the 3×3 stem of its section
4.2 (no early pooling), which suits small images.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from planner.errors import ModelError
from planner.model.spec import (
    Activation,
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
    ZooReference,
)

Input = tuple[int, int, int]

_RELU = Activation("relu")
_NORM = BatchNorm2d("batchnorm2d")
_VGG_MINIMUM = 28


def _conv(filters: int, kernel: int = 3, stride: int = 1) -> Conv2d:
    return Conv2d("conv2d", filters, kernel, stride=stride, padding=kernel // 2, bias=False)


def _classifier(classes: int) -> Unit:
    pool = AdaptivePool2d("adaptive_avg_pool2d", 1, 1)
    return Unit("classifier", (pool, Flatten("flatten"), Linear("linear", classes)))


def _conv_chain(name: str, widths: tuple[tuple[int, ...], ...], shape: Input, classes: int) -> Model:
    """Stages of conv-norm-relu, each closed by a 2×2 pool that rounds up where five halvings would leave nothing."""
    pool = Pool2d("max_pool2d", 2, 2, ceil_mode=min(shape[1:]) < 32)
    units: list[Unit] = []
    for stage, filters in enumerate(widths, start=1):
        for position, width in enumerate(filters, start=1):
            layers: tuple[Layer, ...] = (_conv(width), _NORM, _RELU)
            if position == len(filters):
                layers = (*layers, pool)
            units.append(Unit(f"conv{stage}_{position}", layers))
    return Model("model/1", name, shape, classes, (*units, _classifier(classes)))


def _vgg(name: str, counts: tuple[int, ...]) -> Callable[[Input, int], Model]:
    def make(shape: Input, classes: int) -> Model:
        if min(shape[1:]) < _VGG_MINIMUM:
            size = f"{shape[1]}×{shape[2]}"
            raise ModelError(f"{name}: needs images of at least {_VGG_MINIMUM}×{_VGG_MINIMUM}, not {size}")
        widths = tuple((width,) * count for width, count in zip((64, 128, 256, 512, 512), counts, strict=True))
        return _conv_chain(name, widths, shape, classes)

    return make


def _basic_block(channels: int, width: int, stride: int) -> tuple[Layer, ...]:
    body = (_conv(width, stride=stride), _NORM, _RELU, _conv(width), _NORM)
    shortcut: tuple[Layer, ...] = ()
    if stride != 1 or channels != width:
        shortcut = (_conv(width, kernel=1, stride=stride), _NORM)
    return (Residual("residual", body, shortcut), _RELU)


def _resnet(name: str, counts: tuple[int, ...]) -> Callable[[Input, int], Model]:
    def make(shape: Input, classes: int) -> Model:
        units = [Unit("stem", (_conv(64), _NORM, _RELU))]
        channels = 64
        for stage, (width, count) in enumerate(zip((64, 128, 256, 512), counts, strict=True), start=1):
            for position in range(1, count + 1):
                stride = 2 if stage > 1 and position == 1 else 1
                units.append(Unit(f"block{stage}_{position}", _basic_block(channels, width, stride)))
                channels = width
        return Model("model/1", name, shape, classes, (*units, _classifier(classes)))

    return make


def _cnn6(shape: Input, classes: int) -> Model:
    return _conv_chain("cnn6", ((32, 32), (64, 64), (128,)), shape, classes)


ZOO: MappingProxyType[str, Callable[[Input, int], Model]] = MappingProxyType(
    {
        "cnn6": _cnn6,
        "vgg11": _vgg("vgg11", (1, 1, 2, 2, 2)),
        "vgg13": _vgg("vgg13", (2, 2, 2, 2, 2)),
        "vgg16": _vgg("vgg16", (2, 2, 3, 3, 3)),
        "vgg19": _vgg("vgg19", (2, 2, 4, 4, 4)),
        "resnet18": _resnet("resnet18", (2, 2, 2, 2)),
        "resnet34": _resnet("resnet34", (3, 4, 6, 3)),
    }
)
"""Every network of the zoo: a function of input shape (channels, height, width) and classes."""


def from_zoo(name: str, shape: Input, classes: int) -> Model:
    """The network `name` for this input and number of classes.

    Raises ModelError: an unknown name (the names that exist are listed), an input or number of classes out of range.
    """
    make = ZOO.get(name)
    if make is None:
        raise ModelError(f"no network called {name[:60]!r} in the zoo; there are {', '.join(ZOO)}")
    try:
        ZooReference("model/1", name, shape, classes)  # checks the ranges
    except ValueError as error:
        raise ModelError(f"{name}: {error}") from None
    return make(shape, classes)
