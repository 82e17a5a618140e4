"""Networks whose skips are carried along by the units between."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from planner.model.build import build_unit
from planner.model.shapes import Shape, model_sizes
from planner.operators.unit_graph import GraphInput, GraphTensor, UnitGraph
from planner.schema.model import Model, Unit

IMAGE = (3, 16, 16)
CLASSES = 10
WIDTH = 16


def unit(
    name: str, lines: tuple[str, ...], results: tuple[str, ...], further: tuple[tuple[int, ...], ...], *weights: int
) -> Unit:
    """A graph whose further inputs are x1, x2, … and which has a weight `<name>.w` of such a shape."""
    tensors = (GraphTensor(f"{name}.w", weights, scale=0.1),) if weights else ()
    inputs = tuple(GraphInput(f"x{index}", shape) for index, shape in enumerate(further, start=1))
    return Unit(name, (UnitGraph("graph", lines, results[0], tensors, (), "float32", inputs, results[1:]),))


def conv(name: str, given: str) -> tuple[str, str]:
    """Lines that give `r` of the value `given`."""
    return f"c = conv2d({given}, ${name}.w, none, [1, 1], [1, 1])", "r = relu_(c)"


SKIP, HALF = (WIDTH, 16, 16), (2 * WIDTH, 8, 8)
CLASSIFIER = unit("last", ("m = mean.dim(x, [2, 3])", "l = linear(m, $last.w)"), ("l",), (), CLASSES, WIDTH)

UNET = (
    unit("a", conv("a", "x"), ("r",), (), WIDTH, 3, 3, 3),
    unit("b", ("p = max_pool2d(x, [2, 2], [2, 2])", *conv("b", "p")), ("r", "x"), (), 2 * WIDTH, WIDTH, 3, 3),
    unit("c", conv("c", "x"), ("r", "x1"), (SKIP,), 2 * WIDTH, 2 * WIDTH, 3, 3),
    unit(
        "d",
        ("u = upsample_nearest2d.vec(x, none, [2.0, 2.0])", "j = cat([x1, u], 1)", *conv("d", "j")),
        ("r",),
        (SKIP,),
        WIDTH,
        3 * WIDTH,
        3,
        3,
    ),
    CLASSIFIER,
)
"""A skip around two units, whose gradient comes out of a `cat` together with another."""

DENSE = (
    unit("a", conv("a", "x"), ("r",), (), WIDTH, 3, 3, 3),
    unit("b", conv("b", "x"), ("c", "x"), (), WIDTH, WIDTH, 3, 3),
    unit("c", ("j = cat([x1, x], 1)", *conv("c", "j")), ("r", "x1", "x"), (SKIP,), WIDTH, 2 * WIDTH, 3, 3),
    unit("d", ("j = cat([x1, x2, x], 1)", *conv("d", "j")), ("r",), (SKIP, SKIP), WIDTH, 3 * WIDTH, 3, 3),
    CLASSIFIER,
)
"""Every unit reads what all before it gave, as in a dense block."""

FORKED = (
    unit("a", conv("a", "x"), ("r",), (), WIDTH, 3, 3, 3),
    unit("b", conv("b", "x"), ("x", "r"), (), WIDTH, WIDTH, 3, 3),
    unit("c", ("j = cat([x, x1], 1)", *conv("c", "j")), ("r",), (SKIP,), WIDTH, 2 * WIDTH, 3, 3),
    CLASSIFIER,
)
"""A branch beside what a head would read, which does not depend on the branch's weights."""


def model(units: tuple[Unit, ...]) -> Model:
    """The network."""
    return Model("model/2", "joint", IMAGE, CLASSES, units)


def shapes(units: tuple[Unit, ...]) -> list[tuple[Shape, ...]]:
    """By boundary, of one sample."""
    return [(IMAGE,), *((sizes.output, *sizes.further) for sizes in model_sizes(model(units)))]


def built(units: tuple[Unit, ...]) -> list[nn.Module]:
    """Its modules."""
    make = partial(build_unit, generator=torch.Generator().manual_seed(0))
    return [make(unit, first) for unit, (first, *_) in zip(units, shapes(units), strict=False)]
