"""The layers that networks are made of, as lines of a unit graph, with weights as `torch.nn`'s begin. No torch here.

Each takes the unit that is written, a value in it, and the name that the network gives the layer: its weights are
`<name>.weight` and the like, as in the state dict of a module.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from planner.model.graph_builder import BATCH, TRAINING, GraphBuilder, Start, Var

ZEROS: Start = ("constant", 0.0)
ONES: Start = ("constant", 1.0)

Sides = int | tuple[int, int]
"""Of a window: both, or rows and columns."""


def usual(fan_in: int) -> Start:
    """What `torch.nn.Conv2d` and `Linear` begin with, weights and biases alike."""
    return "uniform", 1 / sqrt(fan_in)


def kaiming_normal(fan: int) -> Start:
    """`torch.nn.init.kaiming_normal_` before a ReLU; `fan` is the number of inputs or of outputs."""
    return "normal", sqrt(2 / fan)


def _pair(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


def conv2d(
    g: GraphBuilder,
    x: Var,
    name: str,
    width: int,
    kernel: Sides,
    *,
    stride: Sides = 1,
    padding: Sides | None = None,
    groups: int = 1,
    bias: bool = False,
    start: Start | None = None,
    bias_start: Start | None = None,
) -> Var:
    """`torch.nn.Conv2d` with `width` filters; without `padding` the extent stays, but for the stride."""
    kernel = _pair(kernel)
    padding = (kernel[0] // 2, kernel[1] // 2) if padding is None else _pair(padding)
    inside = x.shape[1] // groups
    begin = usual(inside * prod(kernel))
    weight = g.tensor(f"{name}.weight", (width, inside, *kernel), start or begin)
    offset = g.tensor(f"{name}.bias", (width,), bias_start or begin) if bias else None
    rest = [list(_pair(stride)), list(padding)] + ([[1, 1], groups] if groups != 1 else [])
    return g.call("conv2d", x, weight, offset, *rest)


def linear(
    g: GraphBuilder,
    x: Var,
    name: str,
    width: int,
    *,
    bias: bool = True,
    start: Start | None = None,
    bias_start: Start | None = None,
) -> Var:
    """`torch.nn.Linear` over the last dimension."""
    inside = x.shape[-1]
    weight = g.tensor(f"{name}.weight", (width, inside), start or usual(inside))
    offset = g.tensor(f"{name}.bias", (width,), bias_start or usual(inside)) if bias else None
    return g.call("linear", x, weight, offset)


def batch_norm(
    g: GraphBuilder, x: Var, name: str, *, momentum: float = 0.1, eps: float = 1e-5, start: Start = ONES
) -> Var:
    """`torch.nn.BatchNorm1d`, `2d` or `3d`."""
    width = (x.shape[1],)
    weight, bias = g.tensor(f"{name}.weight", width, start), g.tensor(f"{name}.bias", width, ZEROS)
    mean = g.tensor(f"{name}.running_mean", width, ZEROS, "buffer")
    variance = g.tensor(f"{name}.running_var", width, ONES, "buffer")
    count = g.tensor(f"{name}.num_batches_tracked", (), ZEROS, "counter")
    g.call("add_.Tensor", count, 1, mode="counting")
    return g.call("batch_norm", x, weight, bias, mean, variance, TRAINING, momentum, eps, True)


def layer_norm(g: GraphBuilder, x: Var, name: str, *, eps: float = 1e-5, bias: bool = True) -> Var:
    """`torch.nn.LayerNorm` over the last dimension."""
    width = (x.shape[-1],)
    weight = g.tensor(f"{name}.weight", width, ONES)
    offset = g.tensor(f"{name}.bias", width, ZEROS) if bias else None
    return g.call("layer_norm", x, list(width), weight, offset, eps)


def group_norm(g: GraphBuilder, x: Var, name: str, groups: int, *, eps: float = 1e-5) -> Var:
    """`torch.nn.GroupNorm`."""
    width = (x.shape[1],)
    weight, bias = g.tensor(f"{name}.weight", width, ONES), g.tensor(f"{name}.bias", width, ZEROS)
    return g.call("group_norm", x, groups, weight, bias, eps)


def max_pool2d(g: GraphBuilder, x: Var, kernel: int, stride: int, *, padding: int = 0, ceil_mode: bool = False) -> Var:
    """`torch.nn.MaxPool2d`."""
    return g.call("max_pool2d", x, [kernel] * 2, [stride] * 2, [padding] * 2, [1, 1], ceil_mode)


def mean_of_image(g: GraphBuilder, x: Var) -> Var:
    """(samples, channels, rows, columns) to (samples, channels)."""
    return g.call("flatten.using_ints", g.call("adaptive_avg_pool2d", x, [1, 1]), 1)


def dropout(g: GraphBuilder, x: Var, p: float) -> Var:
    """`torch.nn.Dropout`."""
    return g.call("dropout", x, p, TRAINING)


def stochastic_depth(g: GraphBuilder, x: Var, p: float) -> Var:
    """Zeros for some samples in training, others made larger; `x` is written into, and has to be the unit's own.

    As torchvision's `StochasticDepth` in its mode `row`.
    """
    if p == 0:
        return x
    keep = 1 - p
    noise = g.call("new_empty", x, [BATCH] + [1] * (len(x.shape) - 1), mode="training")
    noise = g.call("bernoulli_.float", noise, keep, mode="training")
    noise = g.call("div_.Tensor", noise, keep, mode="training")
    g.call("mul_.Tensor", x, noise, mode="training")
    return x


def squeeze_excitation(
    g: GraphBuilder,
    x: Var,
    names: tuple[str, str],
    width: int,
    activation: str,
    gate: str,
    *,
    starts: tuple[Start, Start] | None = None,
) -> Var:
    """`x` times a number for each channel, made of all their means: two 1×1 convolutions and what follows each.

    With `starts` for their weights, their biases begin at 0.
    """
    first, second = starts or (None, None)
    offset = ZEROS if starts else None
    scale = g.call("adaptive_avg_pool2d", x, [1, 1])
    scale = g.call(activation, conv2d(g, scale, names[0], width, 1, bias=True, start=first, bias_start=offset))
    scale = g.call(gate, conv2d(g, scale, names[1], x.shape[1], 1, bias=True, start=second, bias_start=offset))
    return g.call("mul.Tensor", scale, x)


def same_padding(extents: Sequence[int], kernel: Sides, stride: Sides) -> list[int]:
    """What `constant_pad_nd` takes where TensorFlow says `same`: left, right, top, bottom, the odd one last."""
    found: list[int] = []
    for extent, size, step in zip(extents, _pair(kernel), _pair(stride), strict=True):
        missing = max((-(-extent // step) - 1) * step + size - extent, 0)
        found = [missing // 2, missing - missing // 2, *found]
    return found
