"""Held statistics: what evaluation would give is trained on, at any micro-batch, recomputed or not."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.model.build import build_unit
from planner.model.graph_builder import GraphBuilder
from planner.model.graph_layers import batch_norm
from planner.schema.model import BatchNorm2d, Conv2d, Flatten, Linear, Residual, Unit
from planner.training.segment import infer, train_segment
from planner.training.statistics import hold_statistics

SHAPE = (2, 6, 6)
LABELS = torch.tensor([0, 1, 2, 1])
CONV = (Conv2d("conv2d", 2, 3, padding=1), BatchNorm2d("batchnorm2d"))


def _graph() -> Unit:
    builder = GraphBuilder(SHAPE)
    builder.result = batch_norm(builder, builder.x, "norm")
    return Unit("graph", (builder.graph(),))


def _trained(middle: Unit) -> list[nn.Module]:
    """Units whose statistics have seen something."""
    generator = torch.Generator().manual_seed(1)
    described = (Unit("first", CONV), middle, Unit("last", (Flatten("flatten"), Linear("linear", 3))))
    units: list[nn.Module] = [build_unit(unit, SHAPE, generator) for unit in described]
    for seed in range(3):
        train_segment(units, None, F.cross_entropy, _images(seed), LABELS)
    for unit in units:
        unit.zero_grad()
    return units


def _buffers(units: Sequence[nn.Module]) -> list[Tensor]:
    return [buffer.clone() for unit in units for buffer in unit.buffers()]


def _images(seed: int) -> Tensor:
    return 3 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(seed)) + seed


def _gradients(units: Sequence[nn.Module], images: Tensor, labels: Tensor, *spans: tuple[int, int]) -> list[Tensor]:
    train_segment(units, None, F.cross_entropy, images, labels, recompute=spans)
    return [parameter.grad for unit in units for parameter in unit.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("middle", [Unit("residual", (Residual("residual", CONV),)), _graph()], ids=["layers", "graph"])
def test_a_step_goes_by_what_was_learned_and_leaves_it(middle: Unit) -> None:
    units = _trained(middle)
    hold_statistics(units)
    before = _buffers(units)
    assert len(before) == 6  # mean, variance and count of both
    images = _images(9)
    loss, _ = train_segment(units, None, F.cross_entropy, images, LABELS)
    whole = [parameter.grad.clone() for unit in units for parameter in unit.parameters() if parameter.grad is not None]
    evaluated = [copy.deepcopy(unit).eval() for unit in units]
    assert torch.equal(loss, F.cross_entropy(infer(evaluated, images), LABELS))
    assert all(
        torch.equal(now, then) for now, then in zip((b for u in units for b in u.buffers()), before, strict=True)
    )

    # Recomputed it is the same to the bit, and sample by sample the same but for rounding.
    again, single = copy.deepcopy(units), copy.deepcopy(units)
    for unit in (*again, *single):
        unit.zero_grad()
    found = _gradients(again, images, LABELS, (0, 2))
    assert len(found) == len(whole) and all(map(torch.equal, found, whole))
    for index in range(4):
        train_segment(single, None, F.cross_entropy, images[index : index + 1], LABELS[index : index + 1], 0.25)
    one_by_one = [parameter.grad for unit in single for parameter in unit.parameters()]
    for mine, other in zip(one_by_one, whole, strict=True):
        torch.testing.assert_close(mine, other)
    assert all(
        torch.equal(now, then) for now, then in zip((b for u in again for b in u.buffers()), before, strict=True)
    )
