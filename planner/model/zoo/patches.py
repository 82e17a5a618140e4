"""Networks over patches of an image, with names and beginnings as in timm.

ViT-Tiny and DeiT-Tiny: Dosovitskiy et al., 2021; Touvron et al., 2021 (without distillation: the same network).
MLP-Mixer S: Tolstikhin et al., 2021, table 1. Patches are 16×16, those of small images 4×4.
"""

from __future__ import annotations

from math import sqrt

from planner.model.graph_builder import BATCH, ChainBuilder, GraphBuilder, Start, Var
from planner.model.graph_layers import ZEROS, conv2d, layer_norm, linear
from planner.model.zoo.base import Input, chain, check_multiple, is_small
from planner.schema.model import Model

_WEIGHTS: Start = ("normal", 0.02)
_EPS = 1e-6


def _patch(name: str, shape: Input) -> int:
    side = 4 if is_small(shape) else 16
    check_multiple(name, shape, side)
    return side


def _patches(
    g: GraphBuilder, name: str, width: int, side: int, start: Start | None = None, bias_start: Start | None = None
) -> Var:
    """(samples, channels, rows, columns) to (samples, patches, width)."""
    x = conv2d(g, g.x, name, width, side, stride=side, padding=0, bias=True, start=start, bias_start=bias_start)
    return g.call("transpose.int", g.call("flatten.using_ints", x, 2), 1, 2)


def vit_tiny(name: str, shape: Input, classes: int) -> Model:
    """timm's `vit_tiny_patch16_224` and `deit_tiny_patch16_224`: 12 blocks of 3 heads, 192 wide."""
    net, side, width = ChainBuilder(shape), _patch(name, shape), 192
    with net.unit("patch_embed") as g:
        x = _patches(g, "patch_embed.proj", width, side)
        token = g.tensor("cls_token", (1, 1, width), ("normal", 1e-6))
        x = g.call("cat", [g.call("expand", token, [BATCH, -1, -1]), x], 1)
        g.result = g.call("add.Tensor", x, g.tensor("pos_embed", (1, x.shape[1], width), _WEIGHTS))
    for index in range(12):
        path = f"blocks.{index}"
        with net.unit(f"{path}.attn") as g:
            x = _attention(g, layer_norm(g, g.x, f"{path}.norm1", eps=_EPS), f"{path}.attn", 3)
            g.result = g.call("add.Tensor", g.x, x)
        with net.unit(f"{path}.mlp") as g:
            x = layer_norm(g, g.x, f"{path}.norm2", eps=_EPS)
            g.result = g.call("add.Tensor", g.x, _mlp(g, x, f"{path}.mlp", 4 * width, (_WEIGHTS, _WEIGHTS), ZEROS))
    with net.unit("head") as g:
        x = g.call("select.int", layer_norm(g, g.x, "norm", eps=_EPS), 1, 0)
        g.result = linear(g, x, "head", classes, start=_WEIGHTS, bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def _attention(g: GraphBuilder, x: Var, path: str, heads: int) -> Var:
    _, steps, width = x.shape
    each = linear(g, x, f"{path}.qkv", 3 * width, start=_WEIGHTS, bias_start=ZEROS)
    each = g.call("reshape", each, [BATCH, steps, 3, heads, width // heads])
    query, key, value = g.calls("unbind.int", g.call("permute", each, [2, 0, 3, 1, 4]), 0)
    x = g.call("scaled_dot_product_attention", query, key, value)
    x = g.call("reshape", g.call("transpose.int", x, 1, 2), [BATCH, steps, width])
    return linear(g, x, f"{path}.proj", width, start=_WEIGHTS, bias_start=ZEROS)


def _mlp(g: GraphBuilder, x: Var, path: str, hidden: int, starts: tuple[Start, Start], bias: Start) -> Var:
    width = x.shape[-1]
    x = g.call("gelu", linear(g, x, f"{path}.fc1", hidden, start=starts[0], bias_start=bias))
    return linear(g, x, f"{path}.fc2", width, start=starts[1], bias_start=bias)


def mlp_mixer_s(name: str, shape: Input, classes: int) -> Model:
    """timm's `mixer_s16_224`: 8 blocks, 512 wide."""
    net, side, width = ChainBuilder(shape), _patch(name, shape), 512
    with net.unit("stem") as g:
        g.result = _patches(g, "stem.proj", width, side, ("normal", sqrt(1 / (side**2 * shape[0]))), ZEROS)
    patches = net.shape[0]
    for index in range(8):
        path = f"blocks.{index}"
        with net.unit(f"{path}.mlp_tokens") as g:
            x = g.call("transpose.int", layer_norm(g, g.x, f"{path}.norm1", eps=_EPS), 1, 2)
            x = _mixed(g, x, f"{path}.mlp_tokens", patches, width // 2)
            g.result = g.call("add.Tensor", g.x, g.call("transpose.int", x, 1, 2))
        with net.unit(f"{path}.mlp_channels") as g:
            x = layer_norm(g, g.x, f"{path}.norm2", eps=_EPS)
            g.result = g.call("add.Tensor", g.x, _mixed(g, x, f"{path}.mlp_channels", width, 4 * width))
    with net.unit("head") as g:
        x = g.call("mean.dim", layer_norm(g, g.x, "norm", eps=_EPS), [1])
        g.result = linear(g, x, "head", classes, start=ZEROS, bias_start=ZEROS)
    return chain(name, shape, classes, net.units)


def _mixed(g: GraphBuilder, x: Var, path: str, width: int, hidden: int) -> Var:
    """Weights begin as `torch.nn.init.xavier_uniform_` has them."""
    start: Start = ("uniform", sqrt(6 / (width + hidden)))
    return _mlp(g, x, path, hidden, (start, start), ("normal", 1e-6))
