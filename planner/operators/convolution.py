"""Convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from planner import limits
from planner.operators.base import Graph, Operator, Shape, Weight, between, image


@dataclass(frozen=True)
class Conv2d(Operator):
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

    in_torch = (("conv2d", "Conv2d"),)
    extracts_features = overwritable = True

    def __post_init__(self) -> None:
        between("out_channels", self.out_channels, 1, limits.MAX_CHANNELS)
        between("kernel", self.kernel, 1, limits.MAX_KERNEL)
        between("stride", self.stride, 1, limits.MAX_KERNEL)
        between("padding", self.padding, 0, limits.MAX_KERNEL)
        between("groups", self.groups, 1, limits.MAX_CHANNELS)

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        channels, height, width = image(shape)
        if channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {channels} → {self.out_channels} channels")
        rows = (height + 2 * self.padding - self.kernel) // self.stride + 1
        columns = (width + 2 * self.padding - self.kernel) // self.stride + 1
        return (self.out_channels, rows, columns)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        """As He et al. (2015) start them for rectifiers."""
        deviation = math.sqrt(2 / (self.out_channels * self.kernel**2))
        kernel = (self.out_channels, shape[0] // self.groups, self.kernel, self.kernel)
        bias = Weight("bias", (self.out_channels,), ("constant", 0.0))
        return (Weight("weight", kernel, ("normal", deviation), decays=True), bias)[: 1 + self.bias]

    def arguments(self, shape: Shape) -> Mapping[str, Any]:
        fields = dict(super().arguments(shape))
        return {"in_channels": shape[0], "kernel_size": fields.pop("kernel"), **fields}

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        pads, strides = [self.padding] * 4, [self.stride] * 2
        return graph.node("Conv", inputs, kernel_shape=[self.kernel] * 2, strides=strides, pads=pads, group=self.groups)


Family = Conv2d
