"""When training has diverged: what losses are held against, and what is no number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from planner.runner.train.divergence import begins_at, first_bad, first_unfinite, highest, loss_of_zeros
from planner.tasks.autoencoder import Autoencoder
from planner.tasks.classification import Classification
from planner.tasks.kinds import AnyTask
from planner.tasks.multilabel import Multilabel
from planner.tasks.next_token import NextToken
from planner.tasks.regression import Regression
from planner.tasks.segmentation import Segmentation
from planner.training.tasks import make_arithmetic


@pytest.mark.parametrize(
    ("task", "labels", "output", "loss"),
    [
        (Classification("classification"), torch.tensor([0, 3, 1]), (7,), math.log(7)),
        (Multilabel("multilabel"), torch.tensor([[0.0, 1.0], [1.0, 1.0]]), (2,), math.log(2)),
        (Regression("regression"), torch.tensor([[3.0], [-5.0]]), (1,), (9 + 25) / 2),
        (Regression("regression", "l1"), torch.tensor([[3.0], [-5.0]]), (1,), 4.0),
        (Segmentation("segmentation"), torch.tensor([[[0, 255], [2, 1]]]), (3, 2, 2), math.log(3)),
        (Autoencoder("autoencoder"), torch.full((2, 1, 2, 2), 3.0), (1, 2, 2), 9.0),
        (NextToken("next-token"), torch.tensor([[0, 4, 1]]), (3, 5), math.log(5)),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_what_answering_nothing_loses(task: AnyTask, labels: Tensor, output: tuple[int, ...], loss: float) -> None:
    assert loss_of_zeros(make_arithmetic(task), labels, output) == pytest.approx(loss, rel=1e-6)


def test_losses_are_held_against_the_higher_of_both() -> None:
    assert begins_at([0.1, 5.0], 2.0) == (2.0, 5.0)


@pytest.mark.parametrize(
    ("losses", "segment"),
    [((20.0, 50.0), None), ((20.1, 50.0), 0), ((20.0, 50.1), 1), ((0.0, 0.0), None)],
)
def test_far_above_is_more_than_ten_times(losses: tuple[float, ...], segment: int | None) -> None:
    assert highest(losses, (2.0, 5.0)) == segment


def test_what_began_at_nothing_is_held_against_nothing() -> None:
    assert highest((1.0,), (0.0,)) is None


@pytest.mark.parametrize(("losses", "segment"), [((1.0, math.nan), 1), ((math.inf, 1.0), 0), ((1e30, 2.0), None)])
def test_a_loss_that_is_no_number(losses: tuple[float, ...], segment: int | None) -> None:
    assert first_bad(losses) == segment


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_none_is_found_among_many(odd: float) -> None:
    fine, spoilt = torch.full((300,), 3e38), torch.zeros(40, 40)
    spoilt[17, 3] = odd
    named = [("count", torch.tensor(3)), ("fine", fine), ("spoilt", spoilt)]
    assert first_unfinite(named) == "spoilt"
    assert first_unfinite(named[:2]) is None
