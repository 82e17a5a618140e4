"""ConvNeXt: Liu et al., 2022. Tiny as in torchvision, Atto as in timm (Wightman), with their names and beginnings.

For small images the patches that they begin with are 2×2 instead of 4×4.
"""

from __future__ import annotations

from planner.model.graph_builder import ChainBuilder, GraphBuilder, Start, Var
from planner.model.graph_layers import (
    ZEROS,
    conv2d,
    layer_norm,
    linear,
    stochastic_depth,
)
from planner.model.zoo.base import Input, chain, is_small
from planner.schema.model import Model

_WEIGHTS: Start = ("normal", 0.02)
_LEFT_OUT = 0.1
"""Share of samples that the last block of Tiny leaves out."""


def _conv(g: GraphBuilder, x: Var, name: str, width: int, kernel: int, stride: int = 1, groups: int = 1) -> Var:
    padding = kernel // 2 if stride == 1 else 0
    return conv2d(
        g, x, name, width, kernel, stride=stride, padding=padding, groups=groups,
        bias=True, start=_WEIGHTS, bias_start=ZEROS,
    )  # fmt: skip


def _channels_last(g: GraphBuilder, x: Var) -> Var:
    return g.call("permute", x, [0, 2, 3, 1])


def _channels_first(g: GraphBuilder, x: Var) -> Var:
    return g.call("permute", x, [0, 3, 1, 2])


def _norm(g: GraphBuilder, x: Var, name: str) -> Var:
    """Over the channels of an image."""
    return _channels_first(g, layer_norm(g, _channels_last(g, x), name, eps=1e-6))


def convnext_tiny(name: str, shape: Input, classes: int) -> Model:
    """torchvision's `convnext_tiny`."""
    net, patch = ChainBuilder(shape), 2 if is_small(shape) else 4
    counts, widths = (3, 3, 9, 3), (96, 192, 384, 768)
    with net.unit("features.0") as g:
        g.result = _norm(g, _conv(g, g.x, "features.0.0", widths[0], patch, patch), "features.0.1")
    done = 0
    for stage, (count, width) in enumerate(zip(counts, widths, strict=True)):
        path = f"features.{2 * stage}"
        if stage:
            with net.unit(path) as g:
                g.result = _conv(g, _norm(g, g.x, f"{path}.0"), f"{path}.1", width, 2, 2)
        for position in range(count):
            block = f"features.{2 * stage + 1}.{position}"
            with net.unit(block) as g:
                g.result = _block(g, block, _LEFT_OUT * done / (sum(counts) - 1))
            done += 1
    with net.unit("classifier") as g:
        x = _norm(g, g.call("adaptive_avg_pool2d", g.x, [1, 1]), "classifier.0")
        x = g.call("flatten.using_ints", x, 1)
        g.result = linear(g, x, "classifier.2", classes, start=_WEIGHTS, bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def _block(g: GraphBuilder, path: str, left_out: float) -> Var:
    width = g.x.shape[1]
    x = _channels_last(g, _conv(g, g.x, f"{path}.block.0", width, 7, groups=width))
    x = layer_norm(g, x, f"{path}.block.2", eps=1e-6)
    x = g.call("gelu", linear(g, x, f"{path}.block.3", 4 * width, start=_WEIGHTS, bias_start=ZEROS))
    x = _channels_first(g, linear(g, x, f"{path}.block.5", width, start=_WEIGHTS, bias_start=ZEROS))
    scale = g.tensor(f"{path}.layer_scale", (width, 1, 1), ("constant", 1e-6))
    x = stochastic_depth(g, g.call("mul.Tensor", scale, x), left_out)
    return g.call("add_.Tensor", x, g.x)


def convnext_atto(name: str, shape: Input, classes: int) -> Model:
    """timm's `convnext_atto`: the two wide layers of a block are 1×1 convolutions."""
    net, patch = ChainBuilder(shape), 2 if is_small(shape) else 4
    counts, widths = (2, 2, 6, 2), (40, 80, 160, 320)
    with net.unit("stem") as g:
        g.result = _norm(g, _conv(g, g.x, "stem.0", widths[0], patch, patch), "stem.1")
    for stage, (count, width) in enumerate(zip(counts, widths, strict=True)):
        if stage:
            path = f"stages.{stage}.downsample"
            with net.unit(path) as g:
                g.result = _conv(g, _norm(g, g.x, f"{path}.0"), f"{path}.1", width, 2, 2)
        for position in range(count):
            path = f"stages.{stage}.blocks.{position}"
            with net.unit(path) as g:
                g.result = _conv_block(g, path)
    with net.unit("head") as g:
        x = _norm(g, g.call("mean.dim", g.x, [2, 3], True), "head.norm")
        x = g.call("flatten.using_ints", x, 1)
        g.result = linear(g, x, "head.fc", classes, start=_WEIGHTS, bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def _conv_block(g: GraphBuilder, path: str) -> Var:
    width = g.x.shape[1]
    x = _norm(g, _conv(g, g.x, f"{path}.conv_dw", width, 7, groups=width), f"{path}.norm")
    x = g.call("gelu", _conv(g, x, f"{path}.mlp.fc1", 4 * width, 1))
    x = _conv(g, x, f"{path}.mlp.fc2", width, 1)
    scale = g.call("reshape", g.tensor(f"{path}.gamma", (width,), ("constant", 1e-6)), [1, -1, 1, 1])
    return g.call("add_.Tensor", g.call("mul.Tensor", x, scale), g.x)
