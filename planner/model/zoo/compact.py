"""Networks that save parameters: ShuffleNetV2, SqueezeNet and DenseNet, named and begun as in torchvision.

ShuffleNetV2: Ma et al., 2018, table 5 (1×). SqueezeNet 1.1: Iandola et al., 2016, and its repository. DenseNet: Huang
et al., 2017, table 1. For small images the convolution that they begin with leaves the extent, and no pool follows it.
"""

from __future__ import annotations

from math import sqrt

from planner.model.graph_builder import BATCH, ChainBuilder, GraphBuilder, Start, Var
from planner.model.graph_layers import (
    ZEROS,
    batch_norm,
    conv2d,
    dropout,
    linear,
    max_pool2d,
    mean_of_image,
    usual,
)
from planner.model.zoo.base import Input, chain, conv_norm, is_small, numbered
from planner.schema.model import Model


def shufflenetv2(name: str, shape: Input, classes: int) -> Model:
    """torchvision's `shufflenet_v2_x1_0`."""
    net, small = ChainBuilder(shape), is_small(shape)
    with net.unit("stem") as g:
        start = usual(9 * shape[0])
        x = conv_norm(g, g.x, numbered("conv1"), 24, stride=1 if small else 2, start=start)
        g.result = x if small else max_pool2d(g, x, 3, 2, padding=1)
    for stage, (width, count) in enumerate(((116, 4), (232, 8), (464, 4)), start=2):
        for position in range(count):
            path = f"stage{stage}.{position}"
            with net.unit(path) as g:
                g.result = _halving(g, path, width // 2) if position == 0 else _steady(g, path)
    with net.unit("conv5") as g:
        g.result = conv_norm(g, g.x, numbered("conv5"), 1024, 1, start=usual(464))
    with net.unit("classifier") as g:
        g.result = linear(g, g.call("mean.dim", g.x, [2, 3]), "fc", classes)
    return chain(name, shape, classes, net.units)


def _halving(g: GraphBuilder, path: str, width: int) -> Var:
    one = _depthwise(g, g.x, f"{path}.branch1", 0, 2)
    one = conv_norm(g, one, numbered(f"{path}.branch1", 2), width, 1, start=usual(one.shape[1]))
    return _shuffled(g, one, _branch(g, g.x, f"{path}.branch2", width, 2))


def _steady(g: GraphBuilder, path: str) -> Var:
    one, other = g.calls("chunk", g.x, 2, 1)
    return _shuffled(g, one, _branch(g, other, f"{path}.branch2", other.shape[1], 1))


def _branch(g: GraphBuilder, x: Var, path: str, width: int, stride: int) -> Var:
    x = conv_norm(g, x, numbered(path), width, 1, start=usual(x.shape[1]))
    x = _depthwise(g, x, path, 3, stride)
    return conv_norm(g, x, numbered(path, 5), width, 1, start=usual(width))


def _depthwise(g: GraphBuilder, x: Var, path: str, place: int, stride: int) -> Var:
    width = x.shape[1]
    names = numbered(path, place)
    return conv_norm(g, x, names, width, stride=stride, groups=width, activation="", start=usual(9))


def _shuffled(g: GraphBuilder, one: Var, other: Var) -> Var:
    """Channels of both in turn."""
    both = g.call("cat", [one, other], 1)
    _, channels, rows, columns = both.shape
    halves = g.call("view", both, [BATCH, 2, channels // 2, rows, columns])
    turned = g.call("transpose.int", halves, 1, 2)
    return g.call("reshape", turned, [BATCH, channels, rows, columns])


_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Filters that squeeze, and of each of the two that expand."""


def squeezenet(name: str, shape: Input, classes: int) -> Model:
    """torchvision's `squeezenet1_1`."""
    net, small = ChainBuilder(shape), is_small(shape)
    with net.unit("stem") as g:
        x = _conv(g, g.x, "features.0", 64, 3, stride=1 if small else 2, padding=1 if small else 0)
        g.result = x if small else max_pool2d(g, x, 3, 2, ceil_mode=True)
    place = 3
    for index, (squeezed, expanded) in enumerate(_FIRES):
        with net.unit(f"features.{place}") as g:
            x = _fire(g, f"features.{place}", squeezed, expanded)
            pooled = index in (1, 3)
            g.result = max_pool2d(g, x, 3, 2, ceil_mode=True) if pooled else x
        place += 2 if pooled else 1
    with net.unit("classifier") as g:
        x = dropout(g, g.x, 0.5)
        x = conv2d(g, x, "classifier.1", classes, 1, bias=True, start=("normal", 0.01), bias_start=ZEROS)
        g.result = mean_of_image(g, g.call("relu_", x))
    return chain(name, shape, classes, net.units)


def _fire(g: GraphBuilder, path: str, squeezed: int, expanded: int) -> Var:
    x = _conv(g, g.x, f"{path}.squeeze", squeezed, 1)
    one = _conv(g, x, f"{path}.expand1x1", expanded, 1)
    return g.call("cat", [one, _conv(g, x, f"{path}.expand3x3", expanded, 3, padding=1)], 1)


def _conv(g: GraphBuilder, x: Var, name: str, width: int, kernel: int, *, stride: int = 1, padding: int = 0) -> Var:
    start: Start = ("uniform", sqrt(6 / (x.shape[1] * kernel**2)))
    x = conv2d(g, x, name, width, kernel, stride=stride, padding=padding, bias=True, start=start, bias_start=ZEROS)
    return g.call("relu_", x)


_DENSE_BLOCKS = (6, 12, 24, 16)
_GROWTH = 32


def densenet121(name: str, shape: Input, classes: int) -> Model:
    """torchvision's `densenet121`. A unit has two of its layers, and gives all channels that there are by then."""
    net, small = ChainBuilder(shape), is_small(shape)
    with net.unit("stem") as g:
        names, start = ("features.conv0", "features.norm0"), _fan_in((9 if small else 49) * shape[0])
        x = conv_norm(g, g.x, names, 64, 3 if small else 7, stride=1 if small else 2, start=start)
        g.result = x if small else max_pool2d(g, x, 3, 2, padding=1)
    for block, count in enumerate(_DENSE_BLOCKS, start=1):
        for first in range(1, count + 1, 2):
            path = f"features.denseblock{block}.denselayer"
            with net.unit(f"{path}{first}") as g:
                g.result = _dense_layer(g, _dense_layer(g, g.x, f"{path}{first}"), f"{path}{first + 1}")
        if block < len(_DENSE_BLOCKS):
            with net.unit(f"features.transition{block}") as g:
                x = g.call("relu_", batch_norm(g, g.x, f"features.transition{block}.norm"))
                inside = x.shape[1]
                name_, half = f"features.transition{block}.conv", inside // 2
                g.result = g.call("avg_pool2d", conv2d(g, x, name_, half, 1, start=_fan_in(inside)), [2, 2], [2, 2])
    with net.unit("classifier") as g:
        x = mean_of_image(g, g.call("relu_", batch_norm(g, g.x, "features.norm5")))
        g.result = linear(g, x, "classifier", classes, bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def _dense_layer(g: GraphBuilder, x: Var, path: str) -> Var:
    new = g.call("relu_", batch_norm(g, x, f"{path}.norm1"))
    names = (f"{path}.conv1", f"{path}.norm2")
    new = conv_norm(g, new, names, 4 * _GROWTH, 1, start=_fan_in(x.shape[1]))
    new = conv2d(g, new, f"{path}.conv2", _GROWTH, 3, start=_fan_in(9 * 4 * _GROWTH))
    return g.call("cat", [x, new], 1)


def _fan_in(inputs: int) -> Start:
    return "normal", sqrt(2 / inputs)
