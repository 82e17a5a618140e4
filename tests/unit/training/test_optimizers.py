"""Our optimizers equal torch's to the bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import nn

from planner.schema.common import OptimizerConfig, OptimizerKind, usual_optimizer
from planner.training.optimizers import make_optimizer

Make = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

CASES: dict[str, tuple[OptimizerConfig, Make]] = {
    "sgd": (OptimizerConfig("sgd", 0.1), lambda p: torch.optim.SGD(p, 0.1, foreach=False)),
    "momentum": (
        OptimizerConfig("sgd", 0.05, 0.9, weight_decay=5e-4),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=5e-4, foreach=False),
    ),
    "nesterov": (
        OptimizerConfig("sgd", 0.05, 0.9, nesterov=True, weight_decay=1e-2),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-2, foreach=False),
    ),
    "adam": (OptimizerConfig("adam", 1e-3), lambda p: torch.optim.Adam(p, 1e-3, foreach=False)),
    "adam with decay": (
        OptimizerConfig("adam", 3e-3, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, 3e-3, weight_decay=0.1, foreach=False),
    ),
    "adamw": (
        OptimizerConfig("adamw", 1e-3, weight_decay=0.05),
        lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.05, foreach=False),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_equal_torchs_to_the_bit(name: str) -> None:
    settings, make = CASES[name]
    torch.manual_seed(3)
    ours = [nn.Parameter(torch.randn(17, 5)), nn.Parameter(torch.randn(300)), nn.Parameter(torch.randn(2))]
    theirs = copy.deepcopy(ours)
    optimizer, reference = make_optimizer(settings), make(theirs)
    for step in range(20):
        gradients = [torch.randn_like(parameter) for parameter in ours]
        for mine, other, gradient in zip(ours, theirs, gradients, strict=True):
            mine.grad, other.grad = gradient.clone(), gradient.clone()
        # The third parameter has no gradient on odd steps, as after a unit that was not run.
        if step % 2:
            ours[2].grad = theirs[2].grad = None
        rate = settings.lr * (1 + step) / 20
        optimizer.lr = reference.param_groups[0]["lr"] = rate
        optimizer.step(ours)
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


GROUPED: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, 0.1, 0.9, nesterov=True, foreach=False),
    "adam": lambda groups: torch.optim.Adam(groups, 0.1, foreach=False),
    "adamw": lambda groups: torch.optim.AdamW(groups, 0.1, foreach=False),
}


@pytest.mark.parametrize("kind", GROUPED)
def test_weight_decay_for_some_parameters_equals_torchs_parameter_groups_to_the_bit(kind: OptimizerKind) -> None:
    torch.manual_seed(3)
    ours = [nn.Parameter(torch.randn(*shape)) for shape in ((17, 5), (17,), (4, 3, 3, 3), (4,))]
    theirs = copy.deepcopy(ours)
    settings = OptimizerConfig(kind, 0.1, 0.9 if kind == "sgd" else 0.0, kind == "sgd", 0.05)
    optimizer = make_optimizer(settings, {ours[0], ours[2]})
    groups = [{"params": theirs[::2], "weight_decay": 0.05}, {"params": theirs[1::2], "weight_decay": 0.0}]
    reference = GROUPED[kind](groups)
    for _ in range(10):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        optimizer.step(ours)
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("name", CASES)
def test_state_has_as_many_copies_as_the_settings_say(name: str) -> None:
    settings, _ = CASES[name]
    parameter = nn.Parameter(torch.randn(10))
    parameter.grad = torch.randn(10)
    optimizer = make_optimizer(settings)
    assert optimizer.state(parameter) == {}
    optimizer.step([parameter])
    assert sum(tensor.nbytes for tensor in optimizer.state(parameter).values()) == settings.state_copies * 40


def test_an_unknown_optimizer_is_no_adam() -> None:
    unknown: Any = "lion"
    with pytest.raises(ValueError, match="kind is 'lion'; it is one of sgd, adam, adamw"):
        OptimizerConfig(unknown, 0.1)
    with pytest.raises(AssertionError, match="lion"):
        usual_optimizer(unknown)
    new = OptimizerConfig("adam", 0.1)
    object.__setattr__(new, "kind", "lion")  # a kind that settings got later, and the optimizers did not
    with pytest.raises(AssertionError, match="lion"):
        make_optimizer(new)
    with pytest.raises(AssertionError, match="lion"):
        _ = new.state_copies
