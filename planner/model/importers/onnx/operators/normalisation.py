"""Normalisations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.model.importers.onnx.operators.base import (
    BIAS,
    ONE,
    Call,
    Importer,
    axis_of,
    check_apart,
    static,
)
from planner.model.importers.onnx.values import Tensor
from planner.operators.graph_text import Training


def _batch_norm(c: Call) -> list[Tensor | None]:
    x, weight, bias = c.tensor(), c.weight(1, ONE), c.weight(2, BIAS)
    mean, variance = c.statistic(3, 0.0), c.statistic(4, 1.0)
    momentum = 1 - c.real("momentum", 0.9)
    found = c(
        "batch_norm", x, weight, bias, mean, variance, Training(), round(momentum, 7), c.real("epsilon", 1e-5), True
    )
    return [found, *[None] * (len(c.node.outputs) - 1)]


def _is_all(c: Call, place: int, number: float) -> bool:
    array = c.array(place)
    return bool(np.all(array == number))


def _instance_norm(c: Call) -> Tensor:
    x, eps = c.tensor(), c.real("epsilon", 1e-5)
    weight, bias = _affine(c)
    return c("instance_norm", x, weight, bias, None, None, True, 0.1, eps, True)


def _affine(c: Call) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift, where they do something: as constants of 1 and 0 they stand for none."""
    kinds = [c.is_constant(place) for place in (1, 2)]
    if all(kinds) and _is_all(c, 1, 1.0) and _is_all(c, 2, 0.0):
        return None, None
    return c.weight(1, ONE), c.weight(2, BIAS)


def _group_norm(c: Call) -> Tensor:
    x, groups, eps = c.tensor(), c.whole("num_groups"), c.real("epsilon", 1e-5)
    weight, bias = c.weight(1, ONE), c.weight(2, BIAS)
    (channels,) = static(x.dims[1:2])
    if weight.dims == (channels,):
        return c("group_norm", x, groups, weight, bias, eps)
    # Before opset 21 there is one scale for a group.
    shape = [1, groups, *[1] * (x.rank - 1)]
    apart = c("unflatten.int", c("group_norm", x, groups, None, None, eps), 1, [groups, channels // max(groups, 1)])
    scaled = c("mul.Tensor", apart, c("view", weight, shape))
    return c("flatten.using_ints", c("add.Tensor", scaled, c("view", bias, shape)), 1, 2)


def _layer_norm(c: Call) -> list[Tensor | None]:
    x, eps = c.tensor(), c.real("epsilon", 1e-5)
    shape = list(static(x.dims[axis_of(c.whole("axis", -1), x.rank) :]))
    weight, bias = c.weight(1, ONE), c.weight(2, BIAS) if c.given(2) else None
    return [c("layer_norm", x, shape, weight, bias, eps), None, None]


def _rms_norm(c: Call) -> Tensor:
    x, eps = c.tensor(), c.real("epsilon", 1e-5)
    shape = list(static(x.dims[axis_of(c.whole("axis", -1), x.rank) :]))
    return c("rms_norm", x, shape, c.weight(1, ONE), eps)


def _response_norm(c: Call) -> Tensor:
    x, size = c.tensor(), c.whole("size")
    alpha, beta, bias = c.real("alpha", 1e-4), c.real("beta", 0.75), c.real("bias", 1.0)
    check_apart(x, [1], "works")
    before, behind = (size - 1) // 2, size - 1 - (size - 1) // 2
    channels, rest = static(x.dims[1:2])[0], static(x.dims[2:])
    flat = c("flatten.using_ints", c("square", x), 2) if len(rest) > 1 else c("square", x)
    around = c("constant_pad_nd", c("unsqueeze", flat, 1), [0, 0, before, behind], 0.0)
    mean = c("view", c("avg_pool2d", around, [size, 1], [1, 1]), [x.dims[0], channels, *rest])
    base = c("add.Tensor", c("mul.Tensor", mean, alpha), bias)
    return c("div.Tensor", x, c("pow.Tensor_Scalar", base, beta))


def _lp_norm(c: Call) -> Tensor:
    x, order = c.tensor(), c.whole("p", 2)
    axis = axis_of(c.whole("axis", -1), x.rank)
    check_apart(x, [axis], "works")
    return c("div.Tensor", x, c("linalg_vector_norm", x, order, [axis], True))


IMPORTERS: Mapping[str, Importer] = {
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "LRN": _response_norm,
    "LpNormalization": _lp_norm,
}
