"""Networks by name, written in `model/1`, so that a zoo name and a description in a file go the same way.

VGG: Simonyan and Zisserman, 2015, table 1 (A, B, D, E), with batch normalisation, so its convolutions need no bias, and
the single linear classifier usual for small images. ResNet: He et al., 2016, table 1, with the 3×3 stem of its section
4.2 (no early pooling), which suits small images. MobileNetV2: Sandler et al., 2018, table 2, where the stem and the
stage of 24 channels keep the extent instead of halving it, as usual for small images.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from planner.errors import ModelError
from planner.schema.model import (
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
_RELU6 = Activation("relu6")
_NORM = BatchNorm2d("batchnorm2d")
_VGG_MINIMUM = 28


def _conv(filters: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> Conv2d:
    return Conv2d("conv2d", filters, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)


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


_MOBILENETV2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2, a stage each: expansion, channels, blocks, stride of the first block (2 for 24 channels in the paper)."""


def _inverted_residual(channels: int, expansion: int, width: int, stride: int) -> tuple[Layer, ...]:
    """Widen, filter each channel by itself, narrow without an activation (table 1)."""
    hidden = expansion * channels
    widen: tuple[Layer, ...] = () if expansion == 1 else (_conv(hidden, kernel=1), _NORM, _RELU6)
    depthwise = _conv(hidden, stride=stride, groups=hidden)
    body = (*widen, depthwise, _NORM, _RELU6, _conv(width, kernel=1), _NORM)
    return (Residual("residual", body),) if stride == 1 and channels == width else body


def _mobilenetv2(shape: Input, classes: int) -> Model:
    units = [Unit("stem", (_conv(32), _NORM, _RELU6))]
    channels = 32
    for stage, (expansion, width, count, first_stride) in enumerate(_MOBILENETV2, start=1):
        for position in range(1, count + 1):
            stride = first_stride if position == 1 else 1
            layers = _inverted_residual(channels, expansion, width, stride)
            units.append(Unit(f"block{stage}_{position}", layers))
            channels = width
    units.append(Unit("last", (_conv(1280, kernel=1), _NORM, _RELU6)))
    return Model("model/1", "mobilenetv2", shape, classes, (*units, _classifier(classes)))


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
        "mobilenetv2": _mobilenetv2,
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
