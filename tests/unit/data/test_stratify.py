from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.data.stratify import Draw, held_out_counts

COUNTS = st.lists(st.integers(0, 200), min_size=2, max_size=12)


@given(COUNTS)
def test_a_tenth_of_all_is_held_out_and_of_each_class_within_one_of_its_tenth(counts: list[int]) -> None:
    taken = held_out_counts(counts, from_every_class=False)
    assert all(count / 10 - 1 < share < count / 10 + 1 for count, share in zip(counts, taken, strict=True))
    if all(count > 1 for count in counts):
        assert sum(taken) == sum(counts) // 10


@given(COUNTS)
def test_no_class_is_emptied_and_each_that_has_two_is_tested(counts: list[int]) -> None:
    for count, share in zip(counts, held_out_counts(counts, from_every_class=True), strict=True):
        assert share < max(count, 1)
        assert share >= 1 or count < 2


@given(COUNTS, st.integers(0, 99), st.booleans(), st.booleans())
def test_exactly_so_many_of_every_class_go_to_every_part(
    counts: list[int], seed: int, test: bool, validation: bool
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels)
    draw = Draw(counts, test, validation, seed)
    found = Counter(zip(labels.tolist(), draw.parts(labels.tolist()), strict=True))
    for label, count in enumerate(counts):
        assert found[label, "test"] == draw.test[label]
        assert found[label, "validation"] == draw.validation[label]
        assert found[label, "train"] == count - draw.test[label] - draw.validation[label]
    assert (sum(draw.test) > 0) <= test
    assert (sum(draw.validation) > 0) <= validation


def test_equal_seeds_draw_alike_and_others_otherwise() -> None:
    labels = [0, 1] * 500
    drawn = {seed: list(Draw([500, 500], True, True, seed).parts(labels)) for seed in (1, 2)}
    assert drawn[1] == list(Draw([500, 500], True, True, 1).parts(labels))
    assert drawn[1] != drawn[2]


@pytest.mark.parametrize("part", ["test", "validation"])
def test_every_place_is_drawn_equally_often(part: str) -> None:
    """Of 20 samples 2 are taken, for 2,000 seeds: each place 200 times, by a binomial's spread of 13.4."""
    times = np.zeros(20)
    for seed in range(2000):
        draw = Draw([20], test=part == "test", validation=part == "validation", seed=seed)
        times += [found == part for found in draw.parts([0] * 20)]
    assert times.sum() == 4000
    assert np.abs(times - 200).max() < 5 * 13.4
