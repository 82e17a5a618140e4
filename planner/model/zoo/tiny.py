"""The small ones: a plain perceptron, and two of MLPerf Tiny's reference networks (Banbury et al., 2021).

Those are as in mlcommons/tiny (Keras), where padding is `same` and a normalisation's eps 0.001, momentum 0.99: keyword
spotting (`keras_model.py`, DS-CNN) over 49 frames of 10 numbers, and image classification (`keras_model.py`, ResNet-8).
"""

from __future__ import annotations

from math import sqrt

from planner.model.graph_builder import ChainBuilder, GraphBuilder, Start, Var
from planner.model.graph_layers import ZEROS, Sides, batch_norm, conv2d, dropout, linear, mean_of_image, same_padding
from planner.model.zoo.base import Input, chain
from planner.schema.model import Model


def mlp(name: str, shape: Input, classes: int) -> Model:
    """Two hidden layers of 512: that of PyTorch's quickstart, with its names."""
    net = ChainBuilder(shape)
    for place in (0, 2):
        path = f"linear_relu_stack.{place}"
        with net.unit(path) as g:
            x = g.call("flatten.using_ints", g.x, 1) if place == 0 else g.x
            g.result = g.call("relu_", linear(g, x, path, 512))
    with net.unit("linear_relu_stack.4") as g:
        g.result = linear(g, g.x, "linear_relu_stack.4", classes)
    return chain(name, shape, classes, net.units)


def _same(
    g: GraphBuilder, x: Var, name: str, width: int, kernel: Sides, *, stride: int = 1, groups: int = 1, start: Start
) -> Var:
    """A convolution with `same` padding, and a bias."""
    left, right, top, bottom = same_padding(x.shape[2:], kernel, stride)
    padding = (top, left)
    if (top, left) != (bottom, right):
        x, padding = g.call("constant_pad_nd", x, [left, right, top, bottom]), (0, 0)
    return conv2d(
        g, x, name, width, kernel, stride=stride, padding=padding, groups=groups,
        bias=True, start=start, bias_start=ZEROS,
    )  # fmt: skip


def _norm(g: GraphBuilder, x: Var, name: str) -> Var:
    return batch_norm(g, x, name, momentum=0.01, eps=0.001)


def _glorot(inputs: int, outputs: int) -> Start:
    """What Keras begins with where nothing is said."""
    return "uniform", sqrt(6 / (inputs + outputs))


def dscnn_kws(name: str, shape: Input, classes: int) -> Model:
    """64 filters of 10×4, and four times one for each channel and one over all."""
    net, width = ChainBuilder(shape), 64
    with net.unit("conv") as g:
        start = _glorot(40 * shape[0], 40 * width)
        x = _same(g, g.x, "conv.conv", width, (10, 4), stride=2, start=start)
        g.result = dropout(g, g.call("relu_", _norm(g, x, "conv.norm")), 0.2)
    for index in range(1, 5):
        path = f"block{index}"
        with net.unit(path) as g:
            x = _same(g, g.x, f"{path}.depthwise", width, 3, groups=width, start=_glorot(9 * width, 9))
            x = g.call("relu_", _norm(g, x, f"{path}.norm1"))
            x = _same(g, x, f"{path}.pointwise", width, 1, start=_glorot(width, width))
            g.result = g.call("relu_", _norm(g, x, f"{path}.norm2"))
    with net.unit("classifier") as g:
        window = [max(1, extent // 2) for extent in shape[1:]]  # of 25 rows the first 24, as there
        x = g.call("flatten.using_ints", g.call("avg_pool2d", dropout(g, g.x, 0.4), window), 1)
        g.result = linear(g, x, "classifier", classes, start=_glorot(width, classes), bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def resnet8(name: str, shape: Input, classes: int) -> Model:
    """Three blocks, 16, 32 and 64 channels wide; convolutions have a bias."""
    net = ChainBuilder(shape)
    with net.unit("stem") as g:
        x = _same(g, g.x, "conv", 16, 3, start=_he(9 * shape[0]))
        g.result = g.call("relu_", _norm(g, x, "norm"))
    for index, width in enumerate((16, 32, 64), start=1):
        path, stride = f"block{index}", 1 if index == 1 else 2
        with net.unit(path) as g:
            inside = g.x.shape[1]
            x = _same(g, g.x, f"{path}.conv1", width, 3, stride=stride, start=_he(9 * inside))
            x = g.call("relu_", _norm(g, x, f"{path}.norm1"))
            x = _norm(g, _same(g, x, f"{path}.conv2", width, 3, start=_he(9 * width)), f"{path}.norm2")
            short = g.x
            if stride != 1:
                short = _same(g, g.x, f"{path}.shortcut", width, 1, stride=stride, start=_he(inside))
            g.result = g.call("relu_", g.call("add_.Tensor", x, short))
    with net.unit("classifier") as g:
        g.result = linear(g, mean_of_image(g, g.x), "classifier", classes, start=_he(64), bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def _he(inputs: int) -> Start:
    return "normal", sqrt(2 / inputs)
