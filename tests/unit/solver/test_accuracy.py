"""What cuts are predicted to cost: nothing without any, more with each, a guess where nothing like it was trained."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import log2
from typing import get_args

import pytest

from planner.heads.base import HeadKind
from planner.model.zoo import from_zoo
from planner.schema.common import usual_optimizer
from planner.schema.model import Model
from planner.schema.prediction import LossPoints
from planner.schema.request import Budget, Request, Training
from planner.solver import accuracy_figures as figures
from planner.solver.accuracy import LossModel
from planner.tasks.regression import Regression

REQUEST = Request(Budget(1, "process"), Training(64, 1, 64, usual_optimizer("sgd")))
RESNET = from_zoo("resnet20", (1, 28, 28), 10)


def _loss(segments: int, model: Model = RESNET, head: HeadKind | None = None) -> LossPoints:
    found = LossModel(model, replace(REQUEST, head=head)).of(segments)
    assert found is not None
    return found


@pytest.mark.parametrize("head", [None, "mlp", "lookahead", "reconstruct"])
def test_no_cut_loses_nothing_and_every_cut_loses_more(head: HeadKind | None) -> None:
    assert _loss(1, head=head) == LossPoints(0.0, 0.0, 0.0)
    found = [_loss(segments, head=head) for segments in range(1, 41)]
    for fewer, more in pairwise(found):
        assert fewer.expected < more.expected
        assert more.low < more.expected < more.high


@pytest.mark.parametrize("kind", get_args(HeadKind))
def test_two_segments_lose_the_kinds_own_figure_and_four_the_power_of_two_of_it(kind: HeadKind) -> None:
    points = figures.POINTS[kind]
    assert _loss(2, head=kind).expected == pytest.approx(points, abs=0.005)
    assert _loss(4, head=kind).expected == pytest.approx(points * 2**figures.EXPONENT, abs=0.005)
    assert _loss(7, head=kind).expected == pytest.approx(points * log2(7) ** figures.EXPONENT, abs=0.005)


@pytest.mark.parametrize("kind", get_args(HeadKind))
def test_a_bound_is_the_most_segments_that_keep_it(kind: HeadKind) -> None:
    losses = LossModel(RESNET, replace(REQUEST, head=kind))
    for segments in range(1, 12):
        points = _loss(segments, head=kind).expected
        assert losses.most_segments(points, 11) == segments
        assert losses.most_segments(points + 0.01, segments) == segments
        assert losses.most_segments(max(0.0, points - 0.01), 11) == max(1, segments - 1)


def test_a_guess_says_why_and_is_wider() -> None:
    many = replace(RESNET, name="many", classes=100, units=from_zoo("resnet20", (1, 28, 28), 100).units)
    found, usual = _loss(4, many), _loss(4)
    assert "10 classes, not of 100" in found.guess
    assert found.high - found.low >= usual.high - usual.low
    deep = _loss(4, from_zoo("resnet56", (3, 32, 32), 10))
    assert "units to train that extract features, not 28" in deep.guess


def test_what_is_no_share_has_no_points_to_lose() -> None:
    model = replace(RESNET, task=Regression("regression"))
    assert LossModel(model, REQUEST).of(4) is None
