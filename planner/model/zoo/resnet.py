"""ResNets: He et al., 2016. Names and beginnings as in torchvision's `resnet.py`, for CIFAR as in the usual sources.

Wide ResNets: Zagoruyko and Komodakis, 2016, table 1; names as in xternalz/WideResNet-pytorch. `resnet20` and the like:
He et al., section 4.2, with shortcuts that have no parameters (A); names as in akamaster/pytorch_resnet_cifar10.
"""

from __future__ import annotations

from planner.model.graph_builder import ChainBuilder, GraphBuilder, Var
from planner.model.graph_layers import (
    ZEROS,
    batch_norm,
    conv2d,
    kaiming_normal,
    linear,
    max_pool2d,
    mean_of_image,
)
from planner.model.zoo.base import Input, Maker, chain, conv_norm, is_small
from planner.schema.model import Model

_WIDTHS = (64, 128, 256, 512)


def resnet(counts: tuple[int, ...], *, bottleneck: bool) -> Maker:
    """torchvision's; the beginning of small images is a 3×3 convolution that leaves the extent (section 4.2)."""

    def make(name: str, shape: Input, classes: int) -> Model:
        net = ChainBuilder(shape)
        with net.unit("stem") as g:
            if is_small(shape):
                g.result = conv_norm(g, g.x, ("conv1", "bn1"), 64)
            else:
                x = conv_norm(g, g.x, ("conv1", "bn1"), 64, 7, stride=2)
                g.result = max_pool2d(g, x, 3, 2, padding=1)
        for stage, (width, count) in enumerate(zip(_WIDTHS, counts, strict=True), start=1):
            for position in range(count):
                path = f"layer{stage}.{position}"
                with net.unit(path) as g:
                    g.result = _block(g, path, width, 2 if stage > 1 and position == 0 else 1, bottleneck)
        with net.unit("classifier") as g:
            g.result = linear(g, mean_of_image(g, g.x), "fc", classes)
        return chain(name, shape, classes, net.units)

    return make


def _block(g: GraphBuilder, path: str, width: int, stride: int, bottleneck: bool) -> Var:
    outputs = 4 * width if bottleneck else width
    names = [(f"{path}.conv{place}", f"{path}.bn{place}") for place in (1, 2, 3)]
    if bottleneck:
        x = conv_norm(g, g.x, names[0], width, 1)
        x = conv_norm(g, x, names[1], width, stride=stride)
        x = conv_norm(g, x, names[2], outputs, 1, activation="")
    else:
        x = conv_norm(g, g.x, names[0], width, stride=stride)
        x = conv_norm(g, x, names[1], width, activation="")
    short = g.x
    if stride != 1 or short.shape[1] != outputs:
        names[0] = (f"{path}.downsample.0", f"{path}.downsample.1")
        short = conv_norm(g, short, names[0], outputs, 1, stride=stride, activation="")
    return g.call("relu_", g.call("add_.Tensor", x, short))


def cifar_resnet(depth: int) -> Maker:
    """6n + 2 layers: three stages of n blocks, 16, 32 and 64 channels wide."""

    def make(name: str, shape: Input, classes: int) -> Model:
        net = ChainBuilder(shape)
        with net.unit("stem") as g:
            g.result = conv_norm(g, g.x, ("conv1", "bn1"), 16, start=kaiming_normal(9 * shape[0]))
        for stage, width in enumerate((16, 32, 64), start=1):
            for position in range((depth - 2) // 6):
                path = f"layer{stage}.{position}"
                with net.unit(path) as g:
                    g.result = _plain_block(g, path, width, 2 if stage > 1 and position == 0 else 1)
        with net.unit("classifier") as g:
            g.result = linear(g, mean_of_image(g, g.x), "linear", classes, start=kaiming_normal(64))
        return chain(name, shape, classes, net.units)

    return make


def _plain_block(g: GraphBuilder, path: str, width: int, stride: int) -> Var:
    inside = g.x.shape[1]
    x = conv_norm(g, g.x, (f"{path}.conv1", f"{path}.bn1"), width, stride=stride, start=kaiming_normal(9 * inside))
    x = conv_norm(g, x, (f"{path}.conv2", f"{path}.bn2"), width, activation="", start=kaiming_normal(9 * width))
    short = g.x
    if stride != 1:  # every other pixel, and channels of zeros on both sides
        rows = g.call("slice.Tensor", short, 2, None, None, 2)
        pixels = g.call("slice.Tensor", rows, 3, None, None, 2)
        short = g.call("constant_pad_nd", pixels, [0, 0, 0, 0, (width - inside) // 2, (width - inside) // 2])
    return g.call("relu_", g.call("add_.Tensor", x, short))


def wide_resnet(factor: int) -> Maker:
    """28 layers: three stages of four blocks, 16, 32 and 64 channels wide times `factor`; normalisation comes first."""

    def make(name: str, shape: Input, classes: int) -> Model:
        net = ChainBuilder(shape)
        with net.unit("stem") as g:
            g.result = conv2d(g, g.x, "conv1", 16, 3, start=kaiming_normal(9 * 16))
        for stage, width in enumerate((16, 32, 64), start=1):
            for position in range(4):
                path = f"block{stage}.layer.{position}"
                with net.unit(path) as g:
                    g.result = _wide_block(g, path, factor * width, 2 if stage > 1 and position == 0 else 1)
        with net.unit("classifier") as g:
            x = mean_of_image(g, g.call("relu_", batch_norm(g, g.x, "bn1")))
            g.result = linear(g, x, "fc", classes, bias_start=ZEROS)
        return chain(name, shape, classes, net.units)

    return make


def _wide_block(g: GraphBuilder, path: str, width: int, stride: int) -> Var:
    start = kaiming_normal(9 * width)
    before = g.call("relu_", batch_norm(g, g.x, f"{path}.bn1"))
    x = conv_norm(g, before, (f"{path}.conv1", f"{path}.bn2"), width, stride=stride, start=start)
    x = conv2d(g, x, f"{path}.conv2", width, 3, start=start)
    short = g.x
    if short.shape[1] != width:
        start = kaiming_normal(width)
        short = conv2d(g, before, f"{path}.convShortcut", width, 1, stride=stride, padding=0, start=start)
    return g.call("add_.Tensor", x, short)
