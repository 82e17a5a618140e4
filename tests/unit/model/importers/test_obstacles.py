"""Obstacles: as sentences, and to errors and back."""

from __future__ import annotations

import pytest

from planner.errors import ModelError
from planner.model.importers.obstacles import Obstacle, obstacles_of, refusal


@pytest.mark.parametrize(
    ("obstacle", "text"),
    [
        (Obstacle("is wrong"), "is wrong"),
        (Obstacle("is wrong", "net.py:7", "do this"), "net.py:7: is wrong; do this"),
        (Obstacle("is wrong", unit=3), "unit 3: is wrong"),
    ],
)
def test_a_sentence(obstacle: Obstacle, text: str) -> None:
    assert str(obstacle) == text
    error = refusal([obstacle])
    assert (str(error), error.unit) == (text, obstacle.unit)
    assert obstacles_of(error) == (obstacle,)


def test_several_are_a_list() -> None:
    found = (Obstacle("one"), Obstacle("two", "net.py:7"))
    error = refusal(found)
    assert str(error) == "2 things are in the way of this network:\n  - one\n  - net.py:7: two"
    assert obstacles_of(error) == found


def test_any_error_of_a_model_is_one() -> None:
    assert obstacles_of(ModelError("gives NaN", unit=2)) == (Obstacle("gives NaN", unit=2),)
    assert obstacles_of(ModelError("layer: fails")) == (Obstacle("layer: fails"),)
