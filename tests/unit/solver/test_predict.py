"""Chosen blocks in the words of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.schema.request import Budget, Request, Training
from planner.solver.predict import make_block, predict_block
from planner.solver.problem import BlockChoice, Problem
from tests.heads import heads
from tests.unit.solver.two_units import SGD, tiny_profile

TRAINING = Training(batch=2, epochs=3, samples=5, optimizer=SGD)


@pytest.fixture
def problem() -> Problem:
    return Problem(tiny_profile(), Request(Budget(10**6, "training"), TRAINING))


def test_recomputed_spans_stand_in_their_segments_and_on_every_rung(problem: Problem) -> None:
    choice = BlockChoice(0, 2, (1, 2), heads(8, 0), recompute=((0, 1), (1, 2)))
    block = make_block(problem, choice)
    assert [segment.recompute for segment in block.segments] == [((0, 1),), ((1, 2),)]
    assert block.predicted == predict_block(problem, choice)
    assert [fallback.predicted for fallback in block.ladder] == [predict_block(problem, replace(choice, micro_batch=1))]
    assert not block.optimizer_in_backward


def test_a_smaller_rung_of_an_optimizer_in_backward_accumulates_and_steps_behind_it(problem: Problem) -> None:
    choice = BlockChoice(0, 2, (1, 2), heads(8, 0), optimizer_in_backward=True)
    block = make_block(problem, choice)
    assert block.optimizer_in_backward
    behind = replace(choice, micro_batch=1, optimizer_in_backward=False)
    smaller = [fallback for fallback in block.ladder if fallback.micro_batch == 1]
    assert [fallback.predicted for fallback in smaller] == [predict_block(problem, behind)]
