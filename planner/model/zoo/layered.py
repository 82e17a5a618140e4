"""Networks for small images, written in layers (`model/1`), of which profiles are shipped: they stay as they are.

VGG: Simonyan and Zisserman, 2015, table 1 (A, B, D, E), with batch normalisation, so its convolutions need no bias, and
the single linear classifier usual for small images. ResNet: He et al., 2016, table 1, with the 3×3 stem of its section
4.2 (no early pooling), which suits small images. MobileNetV2: Sandler et al., 2018, table 2, where the stem and the
stage of 24 channels keep the extent instead of halving it, as usual for small images.
"""

from __future__ import annotations

from planner.errors import ModelError
from planner.model.zoo.base import Input, Maker
from planner.model.zoo.mobile import MOBILENETV2
from planner.model.zoo.vgg import VGG_WIDTHS
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
)
from planner.tasks.kinds import usual_task

_RELU = Activation("relu")
_RELU6 = Activation("relu6")
_NORM = BatchNorm2d("batchnorm2d")
_VGG_MINIMUM = 28
_KEPT = 24
"""Channels of the stage of MobileNetV2 that keeps the extent here."""


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
    return Model("model/1", name, shape, classes, (*units, _classifier(classes)), usual_task(classes))


def small_vgg(counts: tuple[int, ...]) -> Maker:
    """Convolutions of each stage are given."""

    def make(name: str, shape: Input, classes: int) -> Model:
        if min(shape[1:]) < _VGG_MINIMUM:
            size = f"{shape[1]}×{shape[2]}"
            raise ModelError(f"{name}: needs images of at least {_VGG_MINIMUM}×{_VGG_MINIMUM}, not {size}")
        widths = tuple((width,) * count for width, count in zip(VGG_WIDTHS, counts, strict=True))
        return _conv_chain(name, widths, shape, classes)

    return make


def _basic_block(channels: int, width: int, stride: int) -> tuple[Layer, ...]:
    body = (_conv(width, stride=stride), _NORM, _RELU, _conv(width), _NORM)
    shortcut: tuple[Layer, ...] = ()
    if stride != 1 or channels != width:
        shortcut = (_conv(width, kernel=1, stride=stride), _NORM)
    return (Residual("residual", body, shortcut), _RELU)


def small_resnet(counts: tuple[int, ...]) -> Maker:
    """Blocks of each stage are given."""

    def make(name: str, shape: Input, classes: int) -> Model:
        units = [Unit("stem", (_conv(64), _NORM, _RELU))]
        channels = 64
        for stage, (width, count) in enumerate(zip((64, 128, 256, 512), counts, strict=True), start=1):
            for position in range(1, count + 1):
                stride = 2 if stage > 1 and position == 1 else 1
                units.append(Unit(f"block{stage}_{position}", _basic_block(channels, width, stride)))
                channels = width
        return Model("model/1", name, shape, classes, (*units, _classifier(classes)), usual_task(classes))

    return make


def _inverted_residual(channels: int, expansion: int, width: int, stride: int) -> tuple[Layer, ...]:
    """Widen, filter each channel by itself, narrow without an activation (table 1)."""
    hidden = expansion * channels
    widen: tuple[Layer, ...] = () if expansion == 1 else (_conv(hidden, kernel=1), _NORM, _RELU6)
    depthwise = _conv(hidden, stride=stride, groups=hidden)
    body = (*widen, depthwise, _NORM, _RELU6, _conv(width, kernel=1), _NORM)
    return (Residual("residual", body),) if stride == 1 and channels == width else body


def small_mobilenetv2(name: str, shape: Input, classes: int) -> Model:
    """The stages of the paper's table."""
    units = [Unit("stem", (_conv(32), _NORM, _RELU6))]
    channels = 32
    for stage, (expansion, width, count, first) in enumerate(MOBILENETV2, start=1):
        for position in range(1, count + 1):
            stride = first if position == 1 and width != _KEPT else 1
            layers = _inverted_residual(channels, expansion, width, stride)
            units.append(Unit(f"block{stage}_{position}", layers))
            channels = width
    units.append(Unit("last", (_conv(1280, kernel=1), _NORM, _RELU6)))
    return Model("model/1", name, shape, classes, (*units, _classifier(classes)), usual_task(classes))


def cnn6(name: str, shape: Input, classes: int) -> Model:
    """Five convolutions and a classifier, to try things with."""
    return _conv_chain(name, ((32, 32), (64, 64), (128,)), shape, classes)
