"""The short batches of the dry steps meet the states of a whole training, counted out step by step, and no others."""

from __future__ import annotations

from itertools import product

import pytest

from planner.runner.input.samples import count_batches, list_batches
from planner.runner.train.rehearsal import rehearsal

State = tuple[bool, bool, int]
"""Whether optimizer state exists, whether gradients do, and the micro-batch."""


def _states(batches: list[list[int]]) -> set[State]:
    return {(step > 0, place > 0, size) for step, sizes in enumerate(batches) for place, size in enumerate(sizes)}


def _whole_training(count: int, batch: int, micro_batch: int, least: int, steps: int) -> list[list[int]]:
    epoch = [[last - first for first, last in spans] for spans in list_batches(count, batch, micro_batch, least)]
    return [epoch[step % len(epoch)] for step in range(steps)]


@pytest.mark.parametrize("accumulate", [1, 2, 3, 128])
@pytest.mark.parametrize("least", [1, 2])
def test_the_states_are_those_of_training(accumulate: int, least: int) -> None:
    micro_batch = 4
    batch = micro_batch * accumulate
    around = (least, 3, 4, 5, 9, batch - 1, batch, batch + 1, batch + 4, batch + 7, 2 * batch, 2 * batch + 10)
    for count, epochs, most in product({count for count in around if count >= least}, (1, 2, 3), (1, 2, 3, 4, None)):
        total = count_batches(count, batch, micro_batch, least) * epochs
        steps = min(total, most or total)
        found = rehearsal(count, batch, micro_batch, least, steps)
        expected = _states(_whole_training(count, batch, micro_batch, least, steps))
        assert _states([list(sizes) for sizes in found]) == expected, (count, epochs, most)
        # At most one batch without state, a whole one and an odd one with it; of none more than is needed.
        assert len(found) <= 3 and all(len(sizes) <= 3 for sizes in found)


def test_where_nothing_is_trained_nothing_is_rehearsed() -> None:
    assert rehearsal(1, 8, 4, 2, 0) == []
