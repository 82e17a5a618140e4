"""Random chains of layers, small enough to run."""

from __future__ import annotations

from hypothesis import strategies as st

from planner.errors import ModelError
from planner.model.shapes import Shape, layer_output
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Pool2d,
    Residual,
    Unit,
)

images: st.SearchStrategy[Shape] = st.tuples(st.sampled_from((1, 2, 3, 4, 6)), st.integers(1, 9), st.integers(1, 9))
features: st.SearchStrategy[Shape] = st.tuples(st.integers(1, 12))
shapes = st.sampled_from((images, images, images, features)).flatmap(lambda kind: kind)
"""Inputs of a chain, images more often than rows of features."""


@st.composite
def _convolutions(draw: st.DrawFn, groups: st.SearchStrategy[int]) -> Layer:
    return Conv2d(
        "conv2d",
        draw(st.sampled_from((1, 2, 3, 4, 6))),
        draw(st.integers(1, 4)),
        stride=draw(st.integers(1, 3)),
        padding=draw(st.integers(0, 3)),
        groups=draw(groups),
        bias=draw(st.booleans()),
    )


@st.composite
def _pools(draw: st.DrawFn) -> Layer:
    kernel = draw(st.integers(1, 4))
    return Pool2d(
        draw(st.sampled_from(("max_pool2d", "avg_pool2d"))),
        kernel,
        draw(st.integers(1, 4)),
        draw(st.integers(0, kernel // 2)),
        draw(st.booleans()),
    )


_adaptive: st.SearchStrategy[Layer] = st.builds(
    AdaptivePool2d,
    st.sampled_from(("adaptive_avg_pool2d", "adaptive_max_pool2d")),
    st.integers(1, 5),
    st.integers(1, 5),
)
_norms: st.SearchStrategy[Layer] = st.builds(
    BatchNorm2d, st.just("batchnorm2d"), st.sampled_from((1e-5, 1e-3)), st.sampled_from((0.0, 0.1, 0.5, 1.0))
)
_activations: st.SearchStrategy[Layer] = st.builds(Activation, st.sampled_from(("relu", "relu6", "gelu", "silu")))
_dropouts: st.SearchStrategy[Layer] = st.builds(Dropout, st.just("dropout"), st.sampled_from((0.0, 0.3, 0.9)))
_linears: st.SearchStrategy[Layer] = st.builds(Linear, st.just("linear"), st.integers(1, 6), st.booleans())
_flattens: st.SearchStrategy[Layer] = st.just(Flatten("flatten"))
_leaves = st.one_of(
    _convolutions(st.sampled_from((1, 2, 3))),
    _norms,
    _activations,
    _pools(),
    _adaptive,
    _dropouts,
    _linears,
    _flattens,
)


def _residuals(inner: st.SearchStrategy[Layer]) -> st.SearchStrategy[Layer]:
    lists = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.builds(Residual, st.just("residual"), lists, st.just(()) | lists)


any_layers: st.SearchStrategy[Layer] = _leaves | _residuals(_leaves | _residuals(_leaves))
"""Any layer, fitting or not."""

any_units = st.lists(any_layers, min_size=1, max_size=5).map(lambda layers: Unit("unit", tuple(layers)))
"""Chains most of which do not hold."""


@st.composite
def _fitting(draw: st.DrawFn, shape: Shape, depth: int) -> Layer:
    """A layer that fits `shape`: the one drawn, or a rectifier in its place."""
    if depth < 2 and draw(st.integers(0, 4)) == 0:
        return draw(_fitting_residuals(shape, depth))
    if len(shape) == 1:
        kind = draw(st.sampled_from((_linears, _activations, _linears, _activations, _dropouts, _flattens)))
    else:
        groups = st.sampled_from([groups for groups in (1, 1, 2, 3, 6) if shape[0] % groups == 0])
        convolutions = _convolutions(groups)
        often = (convolutions, _norms, _activations) * 3
        kind = draw(st.sampled_from((*often, _pools(), _adaptive, _dropouts, _flattens)))
    layer = draw(kind)
    return layer if _fits(layer, shape) else Activation("relu")


def _fits(layer: Layer, shape: Shape) -> bool:
    try:
        layer_output(layer, shape)
    except ModelError:
        return False
    return True


@st.composite
def _fitting_residuals(draw: st.DrawFn, shape: Shape, depth: int) -> Residual:
    """A residual whose shortcut gives the shape of its body: the identity where that will do, else pool and conv."""
    body = draw(_chains(shape, depth + 1))
    output = shape
    for layer in body:
        output = layer_output(layer, output)
    if output == shape and draw(st.booleans()):
        return Residual("residual", body)
    shortcut: list[Layer] = []
    if len(output) == 1:
        shortcut += [Flatten("flatten"), Linear("linear", output[0])]
    else:
        shortcut += [AdaptivePool2d("adaptive_avg_pool2d", *output[1:]), Conv2d("conv2d", output[0], 1)]
        if draw(st.booleans()):
            shortcut.append(BatchNorm2d("batchnorm2d"))
    shortcut += draw(st.lists(st.builds(Activation, st.sampled_from(("relu", "relu6", "silu"))), max_size=2))
    return Residual("residual", body, tuple(shortcut))


@st.composite
def _chains(draw: st.DrawFn, shape: Shape, depth: int) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 6 if depth == 0 else 3))):
        layers.append(draw(_fitting(shape, depth)))
        shape = layer_output(layers[-1], shape)
    return tuple(layers)


@st.composite
def fitting_units(draw: st.DrawFn) -> tuple[Unit, Shape]:
    """A chain that holds, and the shape it is fed with."""
    shape = draw(shapes)
    return Unit("unit", draw(_chains(shape, 0))), shape
