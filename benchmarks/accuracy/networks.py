"""The campaign's networks: narrow ones of the usual families, for images of 1×14×14."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from planner.model.graph_builder import ChainBuilder, GraphBuilder, Var
from planner.model.graph_layers import kaiming_normal, linear, max_pool2d, mean_of_image
from planner.model.zoo.base import conv_norm, numbered
from planner.schema.model import Model, Unit
from planner.tasks.kinds import usual_task

INPUT = (1, 14, 14)
CLASSES = 10


def _model(name: str, units: list[Unit]) -> Model:
    return Model("model/2", name, INPUT, CLASSES, tuple(units), usual_task(CLASSES))


def _conv(net: ChainBuilder, name: str, width: int, *, stride: int = 1, pooled: bool = False) -> None:
    with net.unit(name) as g:
        x = conv_norm(g, g.x, numbered(name), width, stride=stride, start=kaiming_normal(9 * g.x.shape[1]))
        g.result = max_pool2d(g, x, 2, 2) if pooled else x


def _classifier(net: ChainBuilder) -> None:
    with net.unit("classifier") as g:
        g.result = linear(g, mean_of_image(g, g.x), "linear", CLASSES)


def resnet(depth: int, width: int) -> Model:
    """6n + 2 layers: three stages of n blocks, `width` channels wide and twice and four times as many."""
    net = ChainBuilder(INPUT)
    _conv(net, "stem", width)
    for stage in range(3):
        for position in range((depth - 2) // 6):
            with net.unit(f"layer{stage + 1}.{position}") as g:
                g.result = _residual(g, width << stage, 2 if stage and position == 0 else 1)
    _classifier(net)
    return _model(f"resnet{depth}-{width}", list(net.units))


def _residual(g: GraphBuilder, width: int, stride: int) -> Var:
    x = conv_norm(g, g.x, ("conv1", "bn1"), width, stride=stride, start=kaiming_normal(9 * g.x.shape[1]))
    x = conv_norm(g, x, ("conv2", "bn2"), width, activation="", start=kaiming_normal(9 * width))
    short = g.x if stride == 1 else conv_norm(g, g.x, ("short", "bn3"), width, 1, stride=stride, activation="")
    return g.call("relu_", g.call("add_.Tensor", x, short))


def plain(width: int) -> Model:
    """Twelve convolutions without shortcuts: three stages of four."""
    net = ChainBuilder(INPUT)
    for layer in range(12):
        _conv(net, f"conv{layer}", width << layer // 4, stride=2 if layer in (4, 8) else 1)
    _classifier(net)
    return _model(f"plain12-{width}", list(net.units))


def vgg11(width: int) -> Model:
    """VGG's table 1, A, with `width` channels where that has 64, three pools, and one linear layer."""
    net, place = ChainBuilder(INPUT), 0
    for stage, (factor, count) in enumerate(zip((1, 2, 4, 8, 8), (1, 1, 2, 2, 2), strict=True)):
        for position in range(count):
            _conv(net, f"features{place}", factor * width, pooled=stage in (0, 1, 3) and position == count - 1)
            place += 1
    _classifier(net)
    return _model(f"vgg11-{width}", list(net.units))


def mobilenetv2(width: int) -> Model:
    """Inverted residuals as in MobileNetV2's table 2, `width` channels where that has 32, expanded threefold."""
    net = ChainBuilder(INPUT)
    _conv(net, "stem", width)
    stages = ((1, 2, 1), (2, 2, 2), (3, 3, 1), (4, 3, 2))
    for stage, (factor, count, first) in enumerate(stages):
        for position in range(count):
            with net.unit(f"stage{stage}.{position}") as g:
                g.result = _inverted(g, factor * width, first if position == 0 else 1)
    _classifier(net)
    return _model(f"mobilenetv2-{width}", list(net.units))


def _inverted(g: GraphBuilder, width: int, stride: int) -> Var:
    inside = g.x.shape[1]
    hidden = 3 * inside
    x = conv_norm(g, g.x, ("wide", "bn1"), hidden, 1, start=kaiming_normal(inside))
    x = conv_norm(g, x, ("depth", "bn2"), hidden, stride=stride, groups=hidden, start=kaiming_normal(9))
    x = conv_norm(g, x, ("narrow", "bn3"), width, 1, activation="", start=kaiming_normal(hidden))
    return g.call("add_.Tensor", x, g.x) if g.x.shape == x.shape else x


NETWORKS: Mapping[str, Callable[[], Model]] = {
    "resnet20-8": lambda: resnet(20, 8),
    "resnet32-8": lambda: resnet(32, 8),
    "resnet20-16": lambda: resnet(20, 16),
    "resnet32-16": lambda: resnet(32, 16),
    "plain12-8": lambda: plain(8),
    "vgg11-8": lambda: vgg11(8),
    "mobilenetv2-8": lambda: mobilenetv2(8),
}
"""By name."""
