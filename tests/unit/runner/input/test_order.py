"""The order of samples is a permutation, a function of its key, and costs no memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.runner.input.order import FeistelPermutation, RunPermutation


@given(st.integers(1, 3000), st.integers(0, 2**62), st.integers(-1, 50))
def test_every_index_goes_to_exactly_one_place(count: int, seed: int, epoch: int) -> None:
    order = FeistelPermutation(count, seed, epoch)
    assert sorted(order[index] for index in range(count)) == list(range(count))


def test_equal_keys_give_equal_orders_and_other_keys_others() -> None:
    first, again, other = (FeistelPermutation(1000, *key) for key in ((7, 1), (7, 1), (7, 2)))
    orders = [[order[index] for index in range(1000)] for order in (first, again, other)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_neighbours_are_torn_apart() -> None:
    order = FeistelPermutation(10_000, 3)
    near = sum(abs(order[index] - order[index + 1]) < 100 for index in range(9_999))
    # Among random pairs about 2 % lie within 100 of each other.
    assert near < 400


def test_a_huge_range_is_answered_at_once() -> None:
    order = FeistelPermutation(10**10, 1)
    assert len({order[index] for index in range(1000)}) == 1000
    assert max(order[index] for index in range(1000)) > 10**9


def test_outside_the_range_is_an_index_error() -> None:
    for index in (-1, 5):
        with pytest.raises(IndexError):
            FeistelPermutation(5, 1)[index]


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 99))
def test_runs_of_neighbours_make_a_permutation(count: int, run: int, key: int) -> None:
    order = RunPermutation(count, run, key)
    found = [order[index] for index in range(count)]
    assert sorted(found) == list(range(count))
    for start in range(0, count, run):
        chunk = found[start : start + run]
        assert chunk == [(chunk[0] + place) % count for place in range(len(chunk))]


def test_runs_differ_from_epoch_to_epoch_in_where_they_begin_and_when_they_come() -> None:
    epochs = [[RunPermutation(1000, 8, 1, epoch)[index] for index in range(0, 1000, 8)] for epoch in range(4)]
    assert len({start % 8 for starts in epochs for start in starts[:1]}) > 1
    assert all(sorted(starts) != starts for starts in epochs)
