"""A small language model: `gpt-nano` of Karpathy's minGPT, with its names and beginnings, and without its dropout."""

from __future__ import annotations

from math import sqrt

from planner.model.graph_builder import BATCH, ChainBuilder, GraphBuilder, Start, Var
from planner.model.graph_layers import ZEROS, layer_norm, linear
from planner.schema.model import Model
from planner.tasks.kinds import USUAL

_WIDTH, _HEADS, _BLOCKS = 48, 3, 3
_WEIGHTS: Start = ("normal", 0.02)
_INTO_SUM: Start = ("normal", 0.02 / sqrt(2 * _BLOCKS))
"""Of the layers whose output is added to what goes past them."""


def gpt_nano(name: str, shape: tuple[int, ...], classes: int) -> Model:
    """Tokens in, numbers for the next of `classes` tokens at every place."""
    net = ChainBuilder(shape, "int64")
    with net.unit("transformer.wte") as g:
        x = g.call("embedding", g.tensor("transformer.wte.weight", (classes, _WIDTH), _WEIGHTS), g.x)
        g.result = g.call("add.Tensor", x, g.tensor("transformer.wpe.weight", (*shape, _WIDTH), _WEIGHTS))
    for index in range(_BLOCKS):
        path = f"transformer.h.{index}"
        with net.unit(f"{path}.attn") as g:
            x = _attention(g, layer_norm(g, g.x, f"{path}.ln_1"), f"{path}.attn")
            g.result = g.call("add.Tensor", g.x, x)
        with net.unit(f"{path}.mlp") as g:
            x = layer_norm(g, g.x, f"{path}.ln_2")
            x = linear(g, x, f"{path}.mlp.c_fc", 4 * _WIDTH, start=_WEIGHTS, bias_start=ZEROS)
            x = g.call("gelu", x, approximate="tanh")
            x = linear(g, x, f"{path}.mlp.c_proj", _WIDTH, start=_INTO_SUM, bias_start=ZEROS)
            g.result = g.call("add.Tensor", g.x, x)
    with net.unit("lm_head") as g:
        x = layer_norm(g, g.x, "transformer.ln_f")
        g.result = linear(g, x, "lm_head", classes, bias=False, start=_WEIGHTS)
    return Model("model/2", name, shape, classes, tuple(net.units), USUAL["next-token"], input_dtype="int64")


def _attention(g: GraphBuilder, x: Var, path: str) -> Var:
    """Every place looks at those before it, and at itself."""
    steps = x.shape[1]
    each = linear(g, x, f"{path}.c_attn", 3 * _WIDTH, start=_WEIGHTS, bias_start=ZEROS)
    parts = []
    for part in g.calls("split.Tensor", each, _WIDTH, 2):
        heads = g.call("view", part, [BATCH, steps, _HEADS, _WIDTH // _HEADS])
        parts.append(g.call("transpose.int", heads, 1, 2))
    x = g.call("scaled_dot_product_attention", *parts, is_causal=True)
    x = g.call("reshape", g.call("transpose.int", x, 1, 2), [BATCH, steps, _WIDTH])
    return linear(g, x, f"{path}.c_proj", _WIDTH, start=_INTO_SUM, bias_start=ZEROS)
