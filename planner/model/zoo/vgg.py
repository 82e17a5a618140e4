"""VGG: Simonyan and Zisserman, 2015, table 1 (A, B, D, E), with batch normalisation, as torchvision has it."""

from __future__ import annotations

from planner.errors import ModelError
from planner.model.graph_builder import ChainBuilder, GraphBuilder, Start, Var
from planner.model.graph_layers import ZEROS, batch_norm, conv2d, dropout, kaiming_normal, linear, max_pool2d
from planner.model.zoo.base import Input, Maker, chain
from planner.schema.model import Model

VGG_COUNTS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions of each stage."""

VGG_WIDTHS = (64, 128, 256, 512, 512)
"""Filters of each stage."""

_LEAST = 32
_LINEAR: Start = ("normal", 0.01)


def vgg_bn(counts: tuple[int, ...]) -> Maker:
    """torchvision's `vgg11_bn` and the like, with its classifier of three linear layers."""

    def make(name: str, shape: Input, classes: int) -> Model:
        if min(shape[1:]) < _LEAST:
            raise ModelError(f"{name}: needs images of at least {_LEAST}×{_LEAST}, not {shape[1]}×{shape[2]}")
        net, place = ChainBuilder(shape), 0
        for width, count in zip(VGG_WIDTHS, counts, strict=True):
            for position in range(count):
                path, last = f"features.{place}", position == count - 1
                with net.unit(path) as g:
                    x = conv2d(g, g.x, path, width, 3, bias=True, start=kaiming_normal(9 * width), bias_start=ZEROS)
                    x = g.call("relu_", batch_norm(g, x, f"features.{place + 1}"))
                    g.result = max_pool2d(g, x, 2, 2) if last else x
                place += 4 if last else 3
        with net.unit("classifier.0") as g:
            x = g.call("flatten.using_ints", g.call("adaptive_avg_pool2d", g.x, [7, 7]), 1)
            g.result = _hidden(g, x, "classifier.0")
        with net.unit("classifier.3") as g:
            g.result = _hidden(g, g.x, "classifier.3")
        with net.unit("classifier.6") as g:
            g.result = linear(g, g.x, "classifier.6", classes, start=_LINEAR, bias_start=ZEROS)
        return chain(name, shape, classes, net.units)

    return make


def _hidden(g: GraphBuilder, x: Var, name: str) -> Var:
    x = g.call("relu_", linear(g, x, name, 4096, start=_LINEAR, bias_start=ZEROS))
    return dropout(g, x, 0.5)
