"""How much of what passes was made where."""

from __future__ import annotations

from planner.model.skips import carried_numbers
from planner.model.zoo import from_zoo
from tests.unit import joint_chains
from tests.unit.joint_chains import WIDTH

SKIP, HALF = WIDTH * 16 * 16, 2 * WIDTH * 8 * 8


def test_what_is_carried_was_made_before_the_unit_that_carries_it() -> None:
    found = carried_numbers(joint_chains.model(joint_chains.UNET))
    assert found is not None
    # The skip, which the first unit made, passes behind the second and the third; the input is nobody's here.
    assert [row[2] for row in found] == [0, SKIP, 0, 0, 0, 0]
    assert [row[3] for row in found] == [0, SKIP, SKIP, 0, 0, 0]
    assert not any(row[at] for row in found for at in (0, 1, 4, 5))


def test_tensors_of_several_makers_count_from_their_own_on() -> None:
    found = carried_numbers(joint_chains.model(joint_chains.DENSE))
    assert found is not None
    assert [row[3] for row in found] == [0, SKIP, 2 * SKIP, 0, 0, 0]


def test_a_chain_of_single_tensors_carries_nothing() -> None:
    assert carried_numbers(from_zoo("cnn6", (3, 32, 32), 10)) is None
