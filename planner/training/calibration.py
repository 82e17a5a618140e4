"""A fixed kernel whose time says how fast the device is just now: timed in a profile and in a run, it compares the two.

It does in small what training does: a convolution, an activation and a matrix product, forward and backward. Blocks
are mapped and given back as a training step's are, so two times compare only under the same allocator policy and
number of threads. Waiting for a processor that others have is left out: a run tells that by itself.
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from planner.system.waiting import Clock
from planner.training.device import CPU, wait_for
from planner.training.runtime import release_memory

_LEAST_REPEATS = 5
_ENOUGH_SECONDS = 0.12


def calibration_seconds(device: torch.device = CPU) -> float:
    """Time the kernel several times and return the median, which moved least from process to process.

    Takes about 0.15 s and less than 2 MiB, and keeps no tensor. It draws no random numbers, so that
    no stream moves.
    """
    release_memory()
    images = torch.full((2, 64, 16, 16), 0.5, device=device, requires_grad=True)
    weight = torch.full((64, 64, 3, 3), 0.01, device=device, requires_grad=True)
    matrix = torch.full((128, 128), 0.01, device=device, requires_grad=True)
    leaves = (images, weight, matrix)
    _warm_up(*leaves)
    found: list[float] = []
    started, clock = time.perf_counter(), Clock()
    while len(found) < _LEAST_REPEATS or time.perf_counter() - started < _ENOUGH_SECONDS:
        before = clock.now()
        _step(*leaves)
        wait_for(device)
        found.append(clock.now() - before)
    return sorted(found)[len(found) // 2]  # `statistics` would cost the run 200 KiB


def _step(images: Tensor, weight: Tensor, matrix: Tensor) -> None:
    features = F.conv2d(images, weight, padding=1).relu()
    _backward(torch.mm(features.view(256, 128), matrix), images, weight, matrix)


def _warm_up(images: Tensor, weight: Tensor, matrix: Tensor) -> None:
    """The first step, which makes the kernels: library pages that only this touches are given back in between.

    They are 8 MiB, more than all tensors here, and would be the highest a small network's process ever is.
    """
    features = F.conv2d(images, weight, padding=1).relu()
    release_memory()
    features.register_hook(lambda gradient: release_memory())  # type: ignore[no-untyped-call]  # torch gives it no type
    outputs = torch.mm(features.view(256, 128), matrix)
    release_memory()
    _backward(outputs, images, weight, matrix)
    release_memory()


def _backward(outputs: Tensor, *leaves: Tensor) -> None:
    outputs.square().mean().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    for leaf in leaves:
        leaf.grad = None
