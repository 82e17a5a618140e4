"""Convolutions, products, normalisations, attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from planner.export.aten.base import Call, Tensor, Writer, operand, per_axis, static, stretched
from planner.export.onnx_builder import OnnxBuilder

_SINGLE_EPS: Final = float(np.finfo(np.float32).eps)


def _names(*values: Tensor | None) -> list[str]:
    return [value.name for value in values if value is not None]


def _spatial(c: Call) -> int:
    weight = c["weight"]
    if c["input"].rank != weight.rank:
        raise ValueError("its input has no samples")
    return int(weight.rank - 2)


def _convolution(o: OnnxBuilder, c: Call) -> str:
    spatial = _spatial(c)
    kernel, dilation = static(c["weight"].dims)[2:], per_axis(c["dilation"], spatial)
    padding = c["padding"]
    if padding == "same":  # PyTorch has the odd one at the end
        around = [spread * (side - 1) for side, spread in zip(kernel, dilation, strict=True)]
        pads = [*(each // 2 for each in around), *(each - each // 2 for each in around)]
    else:
        pads = 2 * ([0] * spatial if padding == "valid" else per_axis(padding, spatial))
    return o.node(
        "Conv",
        _names(c["input"], c["weight"], c["bias"]),
        kernel_shape=kernel,
        strides=per_axis(c["stride"], spatial),
        pads=pads,
        dilations=dilation,
        group=c["groups"],
    )


def _transposed_convolution(o: OnnxBuilder, c: Call) -> str:
    spatial = _spatial(c)
    return o.node(
        "ConvTranspose",
        _names(c["input"], c["weight"], c["bias"]),
        kernel_shape=static(c["weight"].dims)[2:],
        strides=per_axis(c["stride"], spatial),
        pads=2 * per_axis(c["padding"], spatial),
        output_padding=per_axis(c["output_padding"], spatial),
        dilations=per_axis(c["dilation"], spatial),
        group=c["groups"],
    )


def _linear(o: OnnxBuilder, c: Call) -> str:
    if c["input"].rank == 2:
        return o.node("Gemm", _names(c["input"], c["weight"], c["bias"]), transB=1)
    product = o.node("MatMul", [c["input"].name, o.node("Transpose", [c["weight"].name], perm=[1, 0])])
    return product if c["bias"] is None else o.node("Add", [product, c["bias"].name])


def _product(o: OnnxBuilder, c: Call) -> str:
    one, other = c.arguments.values()
    return o.node("MatMul", [one.name, other.name])


def _added_product(o: OnnxBuilder, c: Call) -> str:
    start, one, other, *_ = c.arguments.values()
    product = o.node("MatMul", [one.name, other.name])
    scaled = [
        value if factor == 1 else o.node("Mul", [value, o.number(factor, c.result.dtype)])
        for value, factor in ((start.name, c["beta"]), (product, c["alpha"]))
    ]
    return o.node("Add", scaled)


def _einsum(o: OnnxBuilder, c: Call) -> str:
    return o.node("Einsum", _names(*c["tensors"]), equation=c["equation"].replace(" ", ""))


def _embedding(o: OnnxBuilder, c: Call) -> str:
    return o.node("Gather", [c["weight"].name, c["indices"].name], axis=0)


def _given_or(o: OnnxBuilder, value: Tensor | None, number: float, shape: Sequence[int]) -> str:
    """A tensor, or one of a single number in its place."""
    return o.constant(np.full(shape, number), "float32") if value is None else value.name


def _along_channels(o: OnnxBuilder, value: Tensor, rank: int) -> str:
    return o.reshape(value.name, [*value.dims, *[1] * (rank - 2)])


def _scaled_and_shifted(o: OnnxBuilder, value: str, c: Call) -> str:
    """Times weight, plus bias, one for each channel."""
    rank = c["input"].rank
    for kind, factor in (("Mul", c["weight"]), ("Add", c["bias"])):
        value = value if factor is None else o.node(kind, [value, _along_channels(o, factor, rank)])
    return value


def _normalised(o: OnnxBuilder, value: str, axes: Sequence[int], eps: float) -> str:
    """Mean 0 and variance 1 along axes."""
    at = o.constant(axes, "int64")
    centred = o.node("Sub", [value, o.node("ReduceMean", [value, at])])
    variance = o.node("ReduceMean", [o.node("Mul", [centred, centred]), at])
    return o.node("Div", [centred, o.node("Sqrt", [o.node("Add", [variance, o.number(eps)])])])


def _batch_norm(o: OnnxBuilder, c: Call) -> str:
    if c["training"] or c["running_mean"] is None:  # statistics of the batch at hand, in evaluation too
        axes = [axis for axis in range(c["input"].rank) if axis != 1]
        return _scaled_and_shifted(o, _normalised(o, c["input"].name, axes, c["eps"]), c)
    return _by_statistics(o, c)


def _by_statistics(o: OnnxBuilder, c: Call) -> str:
    channels = static(c["input"].dims[1:2])
    affine = [_given_or(o, c["weight"], 1, channels), _given_or(o, c["bias"], 0, channels)]
    statistics = _names(c["running_mean"], c["running_var"])
    return o.node("BatchNormalization", [c["input"].name, *affine, *statistics], epsilon=float(c["eps"]))


def _instance_norm(o: OnnxBuilder, c: Call) -> str:
    if not c["use_input_stats"]:
        return _by_statistics(o, c)
    axes = list(range(2, c["input"].rank))
    return _scaled_and_shifted(o, _normalised(o, c["input"].name, axes, c["eps"]), c)


def _group_norm(o: OnnxBuilder, c: Call) -> str:
    given, groups = c["input"], c["num_groups"]
    each = math.prod(static(given.dims[1:])) // groups
    grouped = o.reshape(given.name, [given.dims[0], groups, each])
    ones, zeros = (o.constant([number] * groups, "float32") for number in (1, 0))
    normalised = o.node("InstanceNormalization", [grouped, ones, zeros], epsilon=float(c["eps"]))
    return _scaled_and_shifted(o, o.reshape(normalised, given.dims), c)


def _layer_norm(o: OnnxBuilder, c: Call) -> str:
    shape = c["normalized_shape"]
    weight = _given_or(o, c["weight"], 1, shape)
    inputs = [c["input"].name, weight, *_names(c["bias"])]
    return o.node("LayerNormalization", inputs, axis=-len(shape), epsilon=float(c["eps"]))


def _rms_norm(o: OnnxBuilder, c: Call) -> str:
    value, eps = c["input"].name, c["eps"]
    axes = o.constant(list(range(-len(c["normalized_shape"]), 0)), "int64")
    square = o.node("ReduceMean", [o.node("Mul", [value, value]), axes])
    root = o.node("Sqrt", [o.node("Add", [square, o.number(_SINGLE_EPS if eps is None else eps)])])
    found = o.node("Div", [value, root])
    return found if c["weight"] is None else o.node("Mul", [found, c["weight"].name])


def _weight_norm(o: OnnxBuilder, c: Call) -> str:
    axes = [axis for axis in range(c["v"].rank) if c["dim"] == -1 or axis != c["dim"]]
    length = o.node("ReduceL2", [c["v"].name, o.constant(axes, "int64")])
    return o.node("Mul", [c["v"].name, o.node("Div", [c["g"].name, length])])


def _attention(o: OnnxBuilder, c: Call) -> str:
    if c["dropout_p"]:
        raise ValueError("its dropout is random")
    query, key, value = (_of_all_heads(o, c, name) for name in ("query", "key", "value"))
    (width,) = static(c["query"].dims[-1:])
    scale = width**-0.5 if c["scale"] is None else c["scale"]
    order = list(range(c["key"].rank))
    order[-2:] = order[:-3:-1]
    turned = o.node("Transpose", [key], perm=order)
    scores = o.node("MatMul", [o.node("Mul", [query, o.number(scale)]), turned])
    mask = _mask(o, c)
    if mask is None:
        return o.node("MatMul", [o.node("Softmax", [scores], axis=-1), value])
    if mask.dtype != "bool":
        weights = o.node("Softmax", [o.node("Add", [scores, mask.name])], axis=-1)
        return o.node("MatMul", [weights, value])
    hidden = o.node("Where", [mask.name, scores, o.number(-math.inf)])
    weights = o.node("Softmax", [hidden], axis=-1)
    # Who may look at nothing sees zeros, as in PyTorch.
    return o.node("MatMul", [o.node("Where", [mask.name, weights, o.number(0)]), value])


def _mask(o: OnnxBuilder, c: Call) -> Tensor | None:
    if not c["is_causal"]:
        return c["attn_mask"]  # type: ignore[no-any-return]  # a name, or none
    shape = static((c["query"].dims[-2], c["key"].dims[-2]))
    return Tensor(shape, "bool", o.constant(np.tril(np.ones(shape, bool)), "bool"))


def _of_all_heads(o: OnnxBuilder, c: Call, name: str) -> str:
    """Keys and values for each head of the query, where several of those share them."""
    given: Tensor = c[name]
    if not c["enable_gqa"] or name == "query":
        return given.name
    (wanted, heads) = static((c["query"].dims[-3], given.dims[-3]))
    if wanted == heads:
        return given.name
    before, behind = given.dims[:-3], given.dims[-2:]
    apart = o.reshape(given.name, [*before, heads, 1, *behind])
    return o.reshape(stretched(o, apart, [*before, heads, wanted // heads, *behind]), [*before, wanted, *behind])


def _softmax(kind: str) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        return o.node(kind, [operand(o, c["self"], c.result.dtype)], axis=c["dim"])

    return write


_CONVOLUTIONS: dict[str, Any] = {f"conv{n}d{form}": _convolution for n in (1, 2, 3) for form in ("", ".padding")}

WRITERS: Mapping[str, Writer] = {
    **_CONVOLUTIONS,
    **dict.fromkeys((
        "conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input",
    ), _transposed_convolution),
    "linear": _linear,
    "matmul": _product,
    "bmm": _product,
    "mm": _product,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "einsum": _einsum,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "_weight_norm": _weight_norm,
    "scaled_dot_product_attention": _attention,
    "softmax.int": _softmax("Softmax"),
    "log_softmax.int": _softmax("LogSoftmax"),
}  # fmt: skip
