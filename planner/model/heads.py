"""Auxiliary heads, described like any unit: pool → conv → norm → activation → pool → linear.

NeuroFlux (arXiv 2402.14139, section 4.1) adapts the number of filters; pooling *before* the convolution, which it does
not do, keeps a head from ever setting the peak.
"""

from __future__ import annotations

from planner.model.shapes import Shape
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    Unit,
)

FILTERS = (256, 64, 16)
"""Filter counts a head may have, widest first. 256 is classic local learning's."""

_EXTENT = 4
_POOLED = 2


def auxiliary_head(shape: Shape, filters: int, classes: int) -> Unit:
    """The head behind a unit whose output is `shape` (per sample): filters filters over at most 4×4 positions.

    A flat output gets a linear layer alone, whatever `filters` says.
    """
    if len(shape) == 1:
        return Unit("head", (Linear("linear", classes),))
    _, height, width = shape
    layers: list[Layer] = []
    if height > _EXTENT or width > _EXTENT:
        height, width = min(height, _EXTENT), min(width, _EXTENT)
        layers.append(AdaptivePool2d("adaptive_avg_pool2d", height, width))
    layers += [Conv2d("conv2d", filters, 3, padding=1, bias=False), BatchNorm2d("batchnorm2d"), Activation("relu")]
    if height > _POOLED or width > _POOLED:
        layers.append(AdaptivePool2d("adaptive_avg_pool2d", min(height, _POOLED), min(width, _POOLED)))
    return Unit("head", (*layers, Flatten("flatten"), Linear("linear", classes)))


def pooled_exit(shape: Shape, classes: int) -> Unit:
    """The exit behind a unit whose output is `shape` (per sample): the mean of every channel, and a linear layer."""
    if len(shape) == 1:
        return Unit("head", (Linear("linear", classes),))
    return Unit("head", (AdaptivePool2d("adaptive_avg_pool2d", 1, 1), Flatten("flatten"), Linear("linear", classes)))
