"""Convolutions and pooling in one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal

from planner import limits
from planner.model.graph_builder import GraphBuilder, Start, Var
from planner.model.graph_layers import ZEROS
from planner.model.written.base import Sides, Written, check_rank, check_sides, is_square, one, sides
from planner.operators.base import Operator, Shape, between
from planner.operators.convolution import Conv2d
from planner.operators.pooling import Pool2d


def _rank(op: str) -> int:
    return int(op[-2])


def _check_groups(groups: int, channels: int, outputs: int) -> None:
    if channels % groups or outputs % groups:
        raise ValueError(f"{groups} groups do not divide {channels} → {outputs} channels")


@dataclass(frozen=True)
class _Filters(Written):
    """Base of convolutions, one way and the other."""

    op: str
    out_channels: int
    """Filters."""
    kernel: Sides
    """The window's extents: one number, or one for each."""
    stride: Sides = 1
    """Steps of the window."""
    padding: Sides = 0
    """Zeros on either side of each extent."""
    groups: int = 1
    """Groups of channels that do not mix; equal to the input's channels for a depthwise convolution."""
    bias: bool = True
    """Whether each filter has a bias (superfluous before a normalisation)."""

    extracts_features = True

    def __post_init__(self) -> None:
        between("out_channels", self.out_channels, 1, limits.MAX_CHANNELS)
        check_sides("kernel", self.kernel, 1, limits.MAX_KERNEL)
        check_sides("stride", self.stride, 1, limits.MAX_KERNEL)
        check_sides("padding", self.padding, 0, limits.MAX_KERNEL)
        between("groups", self.groups, 1, limits.MAX_CHANNELS)

    def _call(self, g: GraphBuilder, x: Var, name: str, *, turned: bool, windows: Sequence[str]) -> Var:
        """The operator, with its weights; `turned`: theirs begin with the channels that come in.

        `windows` are the fields that its arguments before `groups` are.
        """
        rank = _rank(self.op)
        check_rank(x, rank)
        channels = x.shape[1]
        _check_groups(self.groups, channels, self.out_channels)
        kernel = sides("kernel", self.kernel, rank)
        outer, inner = (channels, self.out_channels) if turned else (self.out_channels, channels)
        start: Start = "normal", sqrt(2 / (outer * prod(kernel)))  # as Conv2d's
        weight = g.tensor(f"{name}.weight", (outer, inner // self.groups, *kernel), start)
        bias = g.tensor(f"{name}.bias", (self.out_channels,), ZEROS) if self.bias else None
        operator = f"{self.op}.input" if turned and rank > 1 else self.op
        return g.call(
            operator, x, weight, bias, *(sides(key, getattr(self, key), rank) for key in windows), self.groups
        )


@dataclass(frozen=True)
class Convolution(_Filters):
    """A convolution over rows and columns, over a length, or over three extents."""

    op: Literal["conv1d", "conv2d", "conv3d"]
    dilation: Sides = 1
    """Steps between the window's elements."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sides("dilation", self.dilation, 1, limits.MAX_KERNEL)

    def plain(self, shape: Shape) -> Operator | None:
        square = is_square(self.kernel, self.stride, self.padding, self.dilation)
        if self.op != "conv2d" or one(self.dilation) != 1 or not square:
            return None
        window = one(self.kernel), one(self.stride), one(self.padding)
        return Conv2d("conv2d", self.out_channels, *window, self.groups, self.bias)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        return self._call(g, x, name, turned=False, windows=("stride", "padding", "dilation"))


@dataclass(frozen=True)
class TransposedConvolution(_Filters):
    """A transposed convolution, which makes extents larger by its stride."""

    op: Literal["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
    stride: Sides = 1
    """How far the windows of neighbours lie apart."""
    padding: Sides = 0
    """What is cut off on either side of each extent."""
    output_padding: Sides = 0
    """What is added on one side of each extent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sides("output_padding", self.output_padding, 0, limits.MAX_KERNEL)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        return self._call(g, x, name, turned=True, windows=("stride", "padding", "output_padding"))


@dataclass(frozen=True)
class Pool(Written):
    """The largest number of each window, or its average."""

    op: Literal["max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"]
    kernel: Sides
    """The window's extents: one number, or one for each."""
    stride: Sides | None = None
    """Steps of the window; without it, as large as the window."""
    padding: Sides = 0
    """Padding on either side, at most half the window; an average counts it as zeros, a maximum leaves it out."""
    ceil_mode: bool = False
    """Round the output's extents up, so that a partial window counts."""

    overwritable = False

    def __post_init__(self) -> None:
        check_sides("kernel", self.kernel, 1, limits.MAX_KERNEL)
        check_sides("stride", self._stride, 1, limits.MAX_KERNEL)
        if is_square(self.kernel, self.padding):
            between("padding", one(self.padding), 0, one(self.kernel) // 2)
        check_sides("padding", self.padding, 0, limits.MAX_KERNEL)

    @property
    def _stride(self) -> Sides:
        return self.kernel if self.stride is None else self.stride

    def plain(self, shape: Shape) -> Operator | None:
        window = self.kernel, self._stride, self.padding
        if not is_square(*window):
            return None
        match self.op:
            case "max_pool2d" | "avg_pool2d":
                return Pool2d(self.op, one(self.kernel), one(self._stride), one(self.padding), self.ceil_mode)
        return None

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        rank = _rank(self.op)
        check_rank(x, rank)
        window = [
            sides(key, value, rank)
            for key, value in (("kernel", self.kernel), ("stride", self._stride), ("padding", self.padding))
        ]
        return g.call(self.op, x, *window, ceil_mode=self.ceil_mode)


@dataclass(frozen=True)
class GlobalPool(Written):
    """One number for each channel: the average or the largest of its places."""

    op: Literal["global_avg_pool", "global_max_pool"]

    overwritable = False

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        if len(x.shape) < 3:
            raise ValueError("needs channels and their places, has features alone")
        places = list(range(2, len(x.shape)))
        return g.call("mean.dim" if self.op == "global_avg_pool" else "amax", x, places)


@dataclass(frozen=True)
class Upsample(Written):
    """More places, each a copy of the nearest or between its neighbours."""

    op: Literal["upsample"]
    scale: int
    """By what each extent grows."""
    mode: Literal["nearest", "linear"] = "nearest"
    """Copies, or lines (planes) between neighbours, whose corners are not aligned."""

    def __post_init__(self) -> None:
        between("scale", self.scale, 1, limits.MAX_KERNEL)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        rank = len(x.shape) - 2
        if not 1 <= rank <= 3:
            raise ValueError("needs channels and 1 to 3 extents")
        factors = [float(self.scale)] * rank
        if self.mode == "nearest":
            return g.call(f"upsample_nearest{rank}d.vec", x, None, factors)
        kind = ("linear1d", "bilinear2d", "trilinear3d")[rank - 1]
        return g.call(f"upsample_{kind}.vec", x, None, False, factors)
