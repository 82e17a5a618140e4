"""Stepping within backward: the same numbers, one gradient at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.schema.common import OptimizerConfig
from planner.training.optimizer_in_backward import optimizer_in_backward
from planner.training.optimizers import make_optimizer
from planner.training.segment import train_segment

LABELS = torch.tensor([0, 2, 1, 0])
SETTINGS = {
    "sgd": OptimizerConfig("sgd", 0.1, 0.9, nesterov=True, weight_decay=1e-2),
    "adamw": OptimizerConfig("adamw", 1e-2, weight_decay=0.1),
}


def _units() -> list[nn.Module]:
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    again = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    return [convolution, again, nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 3))]


def _parameters(units: Sequence[nn.Module]) -> list[nn.Parameter]:
    return [parameter for unit in units for parameter in unit.parameters()]


@pytest.mark.parametrize("recompute", [(), ((0, 2),)], ids=str)
@pytest.mark.parametrize("kind", SETTINGS)
def test_it_equals_stepping_after_backward_to_the_bit(kind: str, recompute: Sequence[tuple[int, int]]) -> None:
    plain = _units()
    ours = copy.deepcopy(plain)
    reference, optimizer = make_optimizer(SETTINGS[kind]), make_optimizer(SETTINGS[kind])
    with optimizer_in_backward(_parameters(ours), optimizer.step):
        for _ in range(4):
            inputs = torch.randn(4, 1, 6, 6)
            expected, _ = train_segment(plain, None, F.cross_entropy, inputs, LABELS)
            reference.step(_parameters(plain))
            for parameter in _parameters(plain):
                parameter.grad = None
            loss, _ = train_segment(ours, None, F.cross_entropy, inputs, LABELS, recompute=recompute)
            assert torch.equal(loss, expected)
    for mine, other in zip(_parameters(ours), _parameters(plain), strict=True):
        assert torch.equal(mine, other)
        for name, value in reference.state(other).items():
            assert torch.equal(optimizer.state(mine)[name], value)


def test_gradients_never_pile_up() -> None:
    units = _units()
    parameters = _parameters(units)
    present: list[int] = []

    def step(moving: Iterable[Tensor]) -> None:
        assert [parameter.grad is not None for parameter in moving] == [True]
        present.append(sum(parameter.grad is not None for parameter in parameters))

    with optimizer_in_backward(parameters, step):
        train_segment(units, None, F.cross_entropy, torch.randn(4, 1, 6, 6), LABELS)
    assert present == [1] * len(parameters)
    assert all(parameter.grad is None for parameter in parameters)


def test_a_weight_used_twice_steps_once_with_its_whole_gradient() -> None:
    shared = nn.Linear(3, 3, bias=False)
    inputs = torch.randn(4, 3)
    train_segment([shared, shared], None, F.cross_entropy, inputs, LABELS)
    whole = shared.weight.grad
    shared.weight.grad = None
    seen: list[Tensor | None] = []
    with optimizer_in_backward(shared.parameters(), lambda moving: seen.extend(weight.grad for weight in moving)):
        train_segment([shared, shared], None, F.cross_entropy, inputs, LABELS)
    assert whole is not None and len(seen) == 1 and seen[0] is not None
    assert torch.equal(seen[0], whole)


def test_weights_that_are_not_trained_are_left_alone_and_nothing_stays_behind() -> None:
    units = _units()
    for frozen in units[0].parameters():
        frozen.requires_grad_(False)
    steps: list[Tensor] = []
    with optimizer_in_backward(_parameters(units), lambda moving: steps.extend(moving)):
        train_segment(units, None, F.cross_entropy, torch.randn(4, 1, 6, 6), LABELS)
    assert len(steps) == len(_parameters(units[1:]))
    train_segment(units, None, F.cross_entropy, torch.randn(4, 1, 6, 6), LABELS)
    assert len(steps) == len(_parameters(units[1:]))
    assert all(parameter.grad is not None for parameter in _parameters(units[1:]))
