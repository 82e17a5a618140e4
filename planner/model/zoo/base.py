"""What a network of the zoo is, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from planner.errors import ModelError
from planner.model.graph_builder import GraphBuilder, Start, Var
from planner.model.graph_layers import batch_norm, conv2d, kaiming_normal
from planner.schema.model import Model, Unit
from planner.tasks.kinds import usual_task

Input = tuple[int, ...]
"""Extents of one sample: of an image channels, height and width."""

Maker = Callable[[str, Input, int], Model]
"""From a network's name, an input and a number of classes."""

SMALL = 64
"""Images of fewer rows or columns are small: the networks made for 224×224 halve them twice less at their beginning."""


@dataclass(frozen=True)
class ZooNetwork:
    """A network by name."""

    make: Maker
    """Makes the model."""
    form: str
    """What it is, in words: whose network, and whose names its weights have."""
    small_form: str = ""
    """The same for images that are small, where it differs."""
    named: Maker | None = None
    """Of one that is made of layers for small images: the same network with names of its weights."""
    input: Input = (3, 32, 32)
    """What it is made for where nobody says otherwise."""
    classes: int = 10
    """As `input`."""
    takes: Literal["images", "any", "tokens"] = "images"
    """What samples are: images, numbers of any shape, or tokens, one of `classes` each."""

    def form_at(self, shape: Input) -> str:
        """What it is for images of this size."""
        return self.small_form if self.small_form and is_small(shape) else self.form


def is_small(shape: Input) -> bool:
    """Whether images are smaller than those that networks for 224×224 can halve five times and more."""
    return min(shape[1:], default=0) < SMALL


def by_size(small: Maker, large: Maker) -> Maker:
    """One for images that are small, another for others."""
    return lambda name, shape, classes: (small if is_small(shape) else large)(name, shape, classes)


def chain(name: str, shape: Input, classes: int, units: Sequence[Unit]) -> Model:
    """The model that these units are."""
    return Model("model/2", name, shape, classes, tuple(units), usual_task(classes))


def check_multiple(name: str, shape: Input, side: int) -> None:
    """Raise ModelError unless patches of `side` cover the image."""
    if shape[1] % side or shape[2] % side:
        raise ModelError(
            f"{name}: cuts images into patches of {side}×{side}; {shape[1]}×{shape[2]} is no multiple of that"
        )


@dataclass(frozen=True)
class Norm:
    """How a network's batch normalisations are."""

    momentum: float = 0.1
    eps: float = 1e-5


def conv_norm(
    g: GraphBuilder,
    x: Var,
    names: tuple[str, str],
    width: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: str = "relu_",
    norm: Norm = Norm(),
    start: Start | None = None,
) -> Var:
    """Convolution, batch normalisation, activation (none: ""). Weights begin as before a ReLU, by their outputs."""
    start = start or kaiming_normal(width * kernel**2)
    x = conv2d(g, x, names[0], width, kernel, stride=stride, groups=groups, start=start)
    x = batch_norm(g, x, names[1], momentum=norm.momentum, eps=norm.eps)
    return g.call(activation, x) if activation else x


def numbered(path: str, first: int = 0) -> tuple[str, str]:
    """Two layers of a `Sequential`."""
    return f"{path}.{first}", f"{path}.{first + 1}"
