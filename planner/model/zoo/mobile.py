"""MobileNets and EfficientNet, with names and beginnings as in torchvision.

MobileNetV2: Sandler et al., 2018, table 2. MobileNetV3: Howard et al., 2019, tables 1 and 2. EfficientNet: Tan and Le,
2019, table 1. For small images the first two layers that halve the extent leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from planner.model.graph_builder import ChainBuilder, GraphBuilder, Start, Var
from planner.model.graph_layers import (
    ZEROS,
    dropout,
    kaiming_normal,
    linear,
    mean_of_image,
    squeeze_excitation,
    stochastic_depth,
)
from planner.model.zoo.base import Input, Maker, Norm, chain, conv_norm, is_small, numbered
from planner.schema.model import Model

_LINEAR: Start = ("normal", 0.01)

MOBILENETV2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2, a stage each: expansion, channels, blocks, stride of the first block."""


class _Strides:
    """Strides of one network: the first two that halve are 1 where images are small."""

    def __init__(self, shape: Input) -> None:
        self._spared = 2 if is_small(shape) else 0

    def next(self, stride: int) -> int:
        if stride == 2 and self._spared:
            self._spared -= 1
            return 1
        return stride


def mobilenetv2(name: str, shape: Input, classes: int) -> Model:
    """torchvision's `mobilenet_v2`."""
    net, strides = ChainBuilder(shape), _Strides(shape)
    with net.unit("features.0") as g:
        g.result = conv_norm(g, g.x, numbered("features.0"), 32, stride=strides.next(2), activation="relu6_")
    index = 1
    for expansion, width, count, first in MOBILENETV2:
        for position in range(count):
            with net.unit(f"features.{index}") as g:
                stride = strides.next(first) if position == 0 else 1
                g.result = _inverted_residual(g, f"features.{index}.conv", expansion, width, stride)
            index += 1
    with net.unit(f"features.{index}") as g:
        g.result = conv_norm(g, g.x, numbered(f"features.{index}"), 1280, 1, activation="relu6_")
    with net.unit("classifier") as g:
        x = dropout(g, mean_of_image(g, g.x), 0.2)
        g.result = linear(g, x, "classifier.1", classes, start=_LINEAR, bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def _inverted_residual(g: GraphBuilder, path: str, expansion: int, width: int, stride: int) -> Var:
    """Widen, filter each channel by itself, narrow without an activation (table 1)."""
    x, hidden, place = g.x, g.x.shape[1] * expansion, 0
    if expansion != 1:
        x = conv_norm(g, x, numbered(f"{path}.0"), hidden, 1, activation="relu6_")
        place = 1
    x = conv_norm(g, x, numbered(f"{path}.{place}"), hidden, stride=stride, groups=hidden, activation="relu6_")
    x = conv_norm(g, x, numbered(path, place + 1), width, 1, activation="")
    return g.call("add_.Tensor", x, g.x) if g.x.shape == x.shape else x


@dataclass(frozen=True)
class Bneck:
    """A line of MobileNetV3's tables."""

    kernel: int
    hidden: int
    width: int
    excited: bool
    activation: str
    stride: int


def _bnecks(text: str) -> tuple[Bneck, ...]:
    lines = (line.split() for line in text.strip().splitlines())
    names = {"RE": "relu_", "HS": "hardswish"}
    return tuple(Bneck(int(k), int(e), int(w), s == "SE", names[a], int(t)) for k, e, w, s, a, t in lines)


SMALL_BNECKS = _bnecks("""
3 16 16 SE RE 2
3 72 24 - RE 2
3 88 24 - RE 1
5 96 40 SE HS 2
5 240 40 SE HS 1
5 240 40 SE HS 1
5 120 48 SE HS 1
5 144 48 SE HS 1
5 288 96 SE HS 2
5 576 96 SE HS 1
5 576 96 SE HS 1
""")
"""Table 2."""

LARGE_BNECKS = _bnecks("""
3 16 16 - RE 1
3 64 24 - RE 2
3 72 24 - RE 1
5 72 40 SE RE 2
5 120 40 SE RE 1
5 120 40 SE RE 1
3 240 80 - HS 2
3 200 80 - HS 1
3 184 80 - HS 1
3 184 80 - HS 1
3 480 112 SE HS 1
3 672 112 SE HS 1
5 672 160 SE HS 2
5 960 160 SE HS 1
5 960 160 SE HS 1
""")
"""Table 1."""

_V3_NORM = Norm(0.01, 0.001)


def mobilenetv3(bnecks: tuple[Bneck, ...], features: int) -> Maker:
    """torchvision's `mobilenet_v3_small` and `mobilenet_v3_large`; the classifier has `features` numbers inside."""

    def make(name: str, shape: Input, classes: int) -> Model:
        net, strides = ChainBuilder(shape), _Strides(shape)
        with net.unit("features.0") as g:
            stride = strides.next(2)
            names = numbered("features.0")
            g.result = conv_norm(g, g.x, names, 16, stride=stride, activation="hardswish", norm=_V3_NORM)
        for index, bneck in enumerate(bnecks, start=1):
            with net.unit(f"features.{index}") as g:
                g.result = _bneck(g, f"features.{index}.block", bneck, strides.next(bneck.stride))
        path = f"features.{len(bnecks) + 1}"
        with net.unit(path) as g:
            width = 6 * g.x.shape[1]
            g.result = conv_norm(g, g.x, numbered(path), width, 1, activation="hardswish", norm=_V3_NORM)
        with net.unit("classifier") as g:
            x = linear(g, mean_of_image(g, g.x), "classifier.0", features, start=_LINEAR, bias_start=ZEROS)
            x = dropout(g, g.call("hardswish", x), 0.2)
            g.result = linear(g, x, "classifier.3", classes, start=_LINEAR, bias_start=ZEROS)
        return chain(name, shape, classes, net.units)

    return make


def _bneck(g: GraphBuilder, path: str, bneck: Bneck, stride: int) -> Var:
    x, place = g.x, 0
    act, norm, hidden = bneck.activation, _V3_NORM, bneck.hidden
    if hidden != x.shape[1]:
        x = conv_norm(g, x, numbered(f"{path}.0"), hidden, 1, activation=act, norm=norm)
        place = 1
    names = numbered(f"{path}.{place}")
    x = conv_norm(g, x, names, hidden, bneck.kernel, stride=stride, groups=hidden, activation=act, norm=norm)
    if bneck.excited:
        place += 1
        x = _excited(g, x, f"{path}.{place}", _divisible(hidden // 4), "relu_", "hardsigmoid")
    x = conv_norm(g, x, numbered(f"{path}.{place + 1}"), bneck.width, 1, activation="", norm=norm)
    return g.call("add_.Tensor", x, g.x) if g.x.shape == x.shape else x


def _divisible(channels: int) -> int:
    """The nearest multiple of 8, not below 8, and not below nine tenths."""
    nearest = max(8, (channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _excited(g: GraphBuilder, x: Var, path: str, width: int, activation: str, gate: str) -> Var:
    starts = (kaiming_normal(width), kaiming_normal(x.shape[1]))
    return squeeze_excitation(g, x, (f"{path}.fc1", f"{path}.fc2"), width, activation, gate, starts=starts)


EFFICIENTNET_B0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Table 1: expansion, kernel, stride, channels, blocks."""


def efficientnet_b0(name: str, shape: Input, classes: int) -> Model:
    """torchvision's `efficientnet_b0`."""
    net, strides = ChainBuilder(shape), _Strides(shape)
    with net.unit("features.0") as g:
        g.result = conv_norm(g, g.x, numbered("features.0"), 32, stride=strides.next(2), activation="silu")
    total, done = sum(count for *_, count in EFFICIENTNET_B0), 0
    for stage, (expansion, kernel, first, width, count) in enumerate(EFFICIENTNET_B0, start=1):
        for position in range(count):
            path = f"features.{stage}.{position}"
            stride = strides.next(first) if position == 0 else 1
            with net.unit(path) as g:
                g.result = _mbconv(g, f"{path}.block", (expansion, kernel, stride, width), 0.2 * done / total)
            done += 1
    with net.unit("features.8") as g:
        g.result = conv_norm(g, g.x, numbered("features.8"), 1280, 1, activation="silu")
    with net.unit("classifier") as g:
        x = dropout(g, mean_of_image(g, g.x), 0.2)
        g.result = linear(g, x, "classifier.1", classes, start=("uniform", 1 / sqrt(classes)), bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def _mbconv(g: GraphBuilder, path: str, kind: tuple[int, int, int, int], left_out: float) -> Var:
    expansion, kernel, stride, width = kind
    x, inside, place = g.x, g.x.shape[1], 0
    hidden = inside * expansion
    if expansion != 1:
        x = conv_norm(g, x, numbered(f"{path}.0"), hidden, 1, activation="silu")
        place = 1
    names = numbered(f"{path}.{place}")
    x = conv_norm(g, x, names, hidden, kernel, stride=stride, groups=hidden, activation="silu")
    x = _excited(g, x, f"{path}.{place + 1}", max(1, inside // 4), "silu", "sigmoid")
    x = conv_norm(g, x, numbered(f"{path}.{place + 2}"), width, 1, activation="")
    if stride != 1 or inside != width:
        return x
    return g.call("add_.Tensor", stochastic_depth(g, x, left_out), g.x)
