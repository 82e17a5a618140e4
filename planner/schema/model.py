"""`model/1`: a network as a chain of units made of layers from a closed list. No torch here.

Two forms share the schema name: an explicit chain (`Model`) and a zoo name with arguments (`ZooReference`), which
`planner.model.load` expands into the first. Ranges that need no context are checked on construction; whether layers fit
each other is `planner.model.shapes`' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner import limits


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")


@dataclass(frozen=True)
class Conv2d:
    """A 2-D convolution with a square window."""

    op: Literal["conv2d"]
    out_channels: int
    """Filters."""
    kernel: int
    """Side of the window."""
    stride: int = 1
    """Step of the window."""
    padding: int = 0
    """Zeros on every side."""
    groups: int = 1
    """Groups of channels that do not mix; equal to the input's channels for a depthwise convolution."""
    bias: bool = True
    """Whether each filter has a bias (superfluous before batch normalisation)."""

    def __post_init__(self) -> None:
        _between("out_channels", self.out_channels, 1, limits.MAX_CHANNELS)
        _between("kernel", self.kernel, 1, limits.MAX_KERNEL)
        _between("stride", self.stride, 1, limits.MAX_KERNEL)
        _between("padding", self.padding, 0, limits.MAX_KERNEL)
        _between("groups", self.groups, 1, limits.MAX_CHANNELS)


@dataclass(frozen=True)
class Linear:
    """A fully connected layer over a flat input."""

    op: Literal["linear"]
    out_features: int
    """Outputs."""
    bias: bool = True
    """Whether each output has a bias."""

    def __post_init__(self) -> None:
        _between("out_features", self.out_features, 1, limits.MAX_CHANNELS)


@dataclass(frozen=True)
class BatchNorm2d:
    """Batch normalisation over channels, with scale, shift and running statistics."""

    op: Literal["batchnorm2d"]
    eps: float = 1e-5
    """Added to the variance."""
    momentum: float = 0.1
    """Weight of a micro-batch in the running statistics."""

    def __post_init__(self) -> None:
        _between("eps", self.eps, 1e-12, 1.0)
        _between("momentum", self.momentum, 0.0, 1.0)


@dataclass(frozen=True)
class Activation:
    """An elementwise non-linearity."""

    op: Literal["relu", "relu6", "gelu", "silu"]


@dataclass(frozen=True)
class Pool2d:
    """Maximum or average pooling with a square window."""

    op: Literal["max_pool2d", "avg_pool2d"]
    kernel: int
    """Side of the window."""
    stride: int
    """Step of the window."""
    padding: int = 0
    """Padding on every side, at most half the window; an average counts it as zeros, a maximum leaves it out."""
    ceil_mode: bool = False
    """Round the output's extent up, so that a partial window counts."""

    def __post_init__(self) -> None:
        _between("kernel", self.kernel, 1, limits.MAX_KERNEL)
        _between("stride", self.stride, 1, limits.MAX_KERNEL)
        _between("padding", self.padding, 0, self.kernel // 2)


@dataclass(frozen=True)
class AdaptivePool2d:
    """Pooling to a fixed extent."""

    op: Literal["adaptive_avg_pool2d", "adaptive_max_pool2d"]
    height: int
    """Rows of the output."""
    width: int
    """Columns of the output."""

    def __post_init__(self) -> None:
        _between("height", self.height, 1, limits.MAX_EXTENT)
        _between("width", self.width, 1, limits.MAX_EXTENT)


@dataclass(frozen=True)
class Dropout:
    """Zero elements at random while training."""

    op: Literal["dropout"]
    p: float = 0.5
    """Probability of zeroing an element."""

    def __post_init__(self) -> None:
        _between("p", self.p, 0.0, 0.99)


@dataclass(frozen=True)
class Flatten:
    """Channels, rows and columns into one row of features."""

    op: Literal["flatten"]


@dataclass(frozen=True)
class Residual:
    """`body(x) + shortcut(x)`; an empty shortcut is the identity."""

    op: Literal["residual"]
    body: tuple[Layer, ...]
    """The layers of the long way."""
    shortcut: tuple[Layer, ...] = ()
    """The layers of the short way."""

    def __post_init__(self) -> None:
        if not self.body:
            raise ValueError("body is empty; a residual needs at least one layer")


Layer = Conv2d | Linear | BatchNorm2d | Activation | Pool2d | AdaptivePool2d | Dropout | Flatten | Residual


def _count(layers: tuple[Layer, ...]) -> int:
    nested = (_count(layer.body) + _count(layer.shortcut) for layer in layers if isinstance(layer, Residual))
    return len(layers) + sum(nested)


@dataclass(frozen=True)
class Unit:
    """The smallest piece that is never split."""

    name: str
    """Shown to people; unique within the model."""
    layers: tuple[Layer, ...]
    """Applied in order."""

    def __post_init__(self) -> None:
        _between("layers: their number, nested ones included,", _count(self.layers), 1, limits.MAX_LAYERS_PER_UNIT)
        _between("name: its length", len(self.name), 1, limits.MAX_NAME_LENGTH)

    @property
    def extracts_features(self) -> bool:
        """Whether it has a layer that does, as a convolution does; linear layers and pooling make a classifier of them.

        Trained behind a cut by itself, a classifier is no better than the head in front of the cut.
        """
        return _extract_features(self.layers)


def _extract_features(layers: tuple[Layer, ...]) -> bool:
    """The one place that says which layers do; recurrence and attention belong here too."""
    return any(
        _extract_features((*layer.body, *layer.shortcut)) if isinstance(layer, Residual) else isinstance(layer, Conv2d)
        for layer in layers
    )


def _check_input(shape: tuple[int, int, int], classes: int) -> None:
    _between("input[0] (channels)", shape[0], 1, limits.MAX_CHANNELS)
    _between("input[1] (height)", shape[1], 1, limits.MAX_EXTENT)
    _between("input[2] (width)", shape[2], 1, limits.MAX_EXTENT)
    _between("classes", classes, 2, limits.MAX_CLASSES)


@dataclass(frozen=True)
class Model:
    """A classifier as a chain of units with one tensor between neighbours."""

    schema: Literal["model/1"]
    name: str
    """Shown to people."""
    input: tuple[int, int, int]
    """Channels, height and width of one sample."""
    classes: int
    """Width of the last unit's output."""
    units: tuple[Unit, ...]
    """The chain; the last unit is the model's own classifier."""

    def __post_init__(self) -> None:
        _between("name: its length", len(self.name), 1, limits.MAX_NAME_LENGTH)
        _check_input(self.input, self.classes)
        _between("units: their number", len(self.units), 1, limits.MAX_UNITS)
        if len({unit.name for unit in self.units}) != len(self.units):
            raise ValueError("units: two of them share a name; names are unique within a model")


@dataclass(frozen=True)
class ZooReference:
    """A network of the zoo, by name."""

    schema: Literal["model/1"]
    zoo: str
    """Name in the zoo, for instance `vgg16`."""
    input: tuple[int, int, int] = (3, 32, 32)
    """Channels, height and width of one sample."""
    classes: int = 10
    """Width of the last unit's output."""

    def __post_init__(self) -> None:
        _check_input(self.input, self.classes)
