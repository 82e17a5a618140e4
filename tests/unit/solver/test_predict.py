"""Chosen blocks in the words of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.solver.predict import make_block, predict_block
from planner.solver.problem import Choice, Problem
from planner.solver.request import Request
from planner.solver.schema import Block, Budget, Segment, Training
from tests.unit.solver.tiny import SGD, tiny_profile

TRAINING = Training(batch=2, epochs=3, samples=5, optimizer=SGD)


@pytest.fixture
def problem(monkeypatch: pytest.MonkeyPatch) -> Problem:
    # The schema refuses, in this release, what the runner does not do yet.
    monkeypatch.setattr(Segment, "__post_init__", lambda segment: None)
    monkeypatch.setattr(Block, "__post_init__", lambda block: None)
    return Problem(tiny_profile(), Request(Budget(10**6, "training"), TRAINING))


def test_recomputed_spans_stand_in_their_segments_and_on_every_rung(problem: Problem) -> None:
    choice = Choice(0, 2, (1, 2), (8, 0), recompute=((0, 1), (1, 2)))
    block = make_block(problem, choice)
    assert [segment.recompute for segment in block.segments] == [((0, 1),), ((1, 2),)]
    assert block.predicted == predict_block(problem, choice)
    assert [rung.predicted for rung in block.ladder] == [predict_block(problem, replace(choice, micro_batch=1))]
    assert not block.optimizer_in_backward


def test_the_optimizer_in_backward_has_no_smaller_rungs(problem: Problem) -> None:
    # A smaller micro-batch would have to accumulate. Without it there is one.
    choice = Choice(0, 2, (1, 2), (8, 0))
    assert len(make_block(problem, choice).ladder) == 1
    block = make_block(problem, replace(choice, optimizer_in_backward=True))
    assert block.optimizer_in_backward
    assert block.ladder == ()
