"""What an import costs the process that asks for it: `python -m benchmarks.doors.growth`.

A residual network of 68 layers as PyTorch users write it (bottlenecks as those of ResNet-50 with six more of them, 306
operators, 32 million parameters) at 3×64×64. It has been run once before, as a caller's has. Prints resident bytes
before and after, seconds on the clock and seconds of processor time, all processes together.
"""

from __future__ import annotations

import os
import time

import torch
from torch import Tensor, nn

from planner.model.importers.apart import import_apart
from planner.model.importers.given import Given
from planner.model.importers.module import import_module
from planner.operators.unit_graph import UnitGraph
from planner.system.proc import read_memory
from planner.units import MIB


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, *, projects: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        projection = nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        self.downsample = projection if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        relu: Tensor = self.relu(out)
        return relu


def residual_network() -> nn.Sequential:
    """As He et al. 2015 have it, deeper."""
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    blocks: list[nn.Module] = []
    channels = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 12, 2), (512, 3, 2)):
        for index in range(count):
            blocks.append(Bottleneck(channels, width, 1 if index else stride, projects=not index))
            channels = 4 * width
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def main() -> None:
    """See the module."""
    network, sample = residual_network(), torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        network(sample)
    for name, door in (("in a process of its own", import_apart), ("in the caller's", import_module)):
        before, start, used = read_memory().resident_bytes, time.perf_counter(), sum(os.times()[:4])
        model = door(Given(network, sample))
        seconds, used = time.perf_counter() - start, sum(os.times()[:4]) - used
        grown = read_memory().resident_bytes - before
        nodes = sum(len(layer.nodes) for unit in model.units for layer in unit.layers if isinstance(layer, UnitGraph))
        print(
            f"{name}: {nodes} operators in {len(model.units)} units, {seconds:.1f} s ({used:.1f} s of CPU), "
            f"caller's resident bytes {before / MIB:.1f} -> {(before + grown) / MIB:.1f} MiB (+{grown / MIB:.1f})"
        )


if __name__ == "__main__":
    main()
