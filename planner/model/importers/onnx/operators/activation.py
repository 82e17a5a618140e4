"""Activations."""

from __future__ import annotations

from collections.abc import Mapping

from planner.model.importers.onnx.operators.base import Call, Importer, Operand, axis_of, check_apart
from planner.model.importers.onnx.values import Tensor
from planner.model.importers.steps import Step

_LEAVES_OUTPUT = ("conv", "batch_norm", "linear", "addmm", "add.Tensor", "matmul")
"""Beginnings of operators whose backward does not look at what they give: that may be overwritten."""


def may_overwrite(c: Call, x: Tensor) -> bool:
    """Whether the node may write its result into its input."""
    step = x.source
    return isinstance(step, Step) and step.operator.startswith(_LEAVES_OUTPUT) and c.read_alone(0)


def _relu(c: Call) -> Tensor:
    x = c.tensor()
    return c("relu_" if may_overwrite(c, x) else "relu", x)


def _plain(operator: str) -> Importer:
    """ATen has the same."""

    def read(c: Call) -> Tensor:
        return c(operator, c.tensor())

    return read


def _leaky_relu(c: Call) -> Tensor:
    return c("leaky_relu", c.tensor(), c.real("alpha", 0.01))


def _elu(c: Call) -> Tensor:
    return c("elu", c.tensor(), c.real("alpha", 1.0))


def _selu(c: Call) -> Tensor:
    alpha, gamma = c.real("alpha", 1.6732632423543772), c.real("gamma", 1.0507009873554805)
    return c("elu", c.tensor(), alpha, gamma)


def _celu(c: Call) -> Tensor:
    return c("celu", c.tensor(), c.real("alpha", 1.0))


def _gelu(c: Call) -> Tensor:
    approximate = c.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate is {approximate[:40]!r}; none or tanh is needed")
    return c("gelu", c.tensor(), approximate=approximate)


def _hard_sigmoid(c: Call) -> Tensor:
    x, alpha, beta = c.tensor(), c.real("alpha", 0.2), c.real("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return c("hardsigmoid", x)
    return c("clamp", c("add.Tensor", c("mul.Tensor", x, alpha), beta), 0, 1)


def _swish(c: Call) -> Tensor:
    x, alpha = c.tensor(), c.real("alpha", 1.0)
    if alpha == 1:
        return c("silu", x)
    return c("mul.Tensor", x, c("sigmoid", c("mul.Tensor", x, alpha)))


def _softsign(c: Call) -> Tensor:
    x = c.tensor()
    return c("div.Tensor", x, c("add.Tensor", c("abs", x), 1))


def _thresholded_relu(c: Call) -> Tensor:
    return c("threshold", c.tensor(), c.real("alpha", 1.0), 0)


def _shrink(c: Call) -> Tensor:
    x, lambd, bias = c.tensor(), c.real("lambd", 0.5), c.real("bias", 0.0)
    if bias not in (0, lambd):
        raise ValueError(f"bias is {bias}; 0 or lambd ({lambd}) is needed")
    return c("softshrink" if bias else "hardshrink", x, lambd)


def _prelu(c: Call) -> Tensor:
    x, slope = c.tensor(), c.weight(1, ("constant", 0.25))
    extents = [extent for extent in slope.dims if extent != 1]
    along_channels = slope.rank == x.rank - 1 and extents in ([], list(slope.dims[:1]))
    if not extents or along_channels:  # one for all, or one for each channel
        flat = slope if slope.rank == 1 else c("flatten.using_ints", slope) if slope.rank else c("view", slope, [1])
        return c("prelu", x, flat)
    return c("where.self", c("gt.Scalar", x, 0), x, c("mul.Tensor", x, slope))


def _bound(c: Call, place: int) -> Operand | None:
    return c.operand(place) if c.given(place) else None


def _clip(c: Call) -> Tensor:
    x, low, high = c.tensor(), _bound(c, 1), _bound(c, 2)
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        raise ValueError("its bounds have to be constants")
    if x.dtype != "float32" or (low is None and high is None):
        return c("clamp", x, low, high) if (low, high) != (None, None) else x
    if low == 0 and high is None:
        return c("relu_" if may_overwrite(c, x) else "relu", x)
    if low is not None and high is not None and low < high:
        return c("hardtanh_" if may_overwrite(c, x) else "hardtanh", x, low, high)
    return c("clamp", x, low, high)


def _softmax(operator: str) -> Importer:
    def read(c: Call) -> Tensor:
        x = c.tensor()
        axis = axis_of(c.whole("axis", -1 if c.opset >= 13 else 1), x.rank)
        if c.opset >= 13 or axis == x.rank - 1:
            check_apart(x, [axis], "works")
            return c(operator, x, axis)
        check_apart(x, range(axis, x.rank), "works")
        flat = c("flatten.using_ints", x, axis)
        return c("unflatten.int", c(operator, flat, axis), axis, list(x.dims[axis:]))

    return read


IMPORTERS: Mapping[str, Importer] = {
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "Gelu": _gelu,
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "Softplus": _plain("softplus"),
    "Softsign": _softsign,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain("hardswish"),
    "Swish": _swish,
    "Mish": _plain("mish"),
    "ThresholdedRelu": _thresholded_relu,
    "Shrink": _shrink,
    "PRelu": _prelu,
    "Clip": _clip,
    "Softmax": _softmax("softmax.int"),
    "LogSoftmax": _softmax("log_softmax.int"),
}
