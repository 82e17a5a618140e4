"""Interpolation: a table's own points, and the straight lines between and beyond them, rounded up."""

from __future__ import annotations

import pytest

from planner.solver.costs import interpolate, interpolate_bytes


@pytest.mark.parametrize(
    ("sizes", "values", "micro_batch", "expected"),
    [
        ((2, 4, 8), (10, 31, 40), 2, 10),
        ((2, 4, 8), (10, 31, 40), 8, 40),
        ((2, 4, 8), (10, 31, 40), 1, 10),  # below the smallest: as there
        ((2, 4, 8), (10, 31, 40), 3, 21),  # 20.5
        ((2, 4, 8), (10, 31, 40), 5, 34),  # 31 + 9/4 = 33.25
        ((2, 4, 8), (10, 31, 40), 16, 58),  # 40 + 8 · 9/4
        ((2, 4, 8), (10, 31, 40), 9, 43),  # 40 + 9/4 = 42.25
        ((2, 4), (31, 10), 3, 21),  # falling between two points: 20.5
        ((2, 4), (31, 10), 8, 10),  # never falling beyond the largest
        ((4,), (10,), 4, 10),
        ((4,), (10,), 2, 10),
        ((4,), (10,), 6, 15),  # a single point: in proportion
        ((3,), (10,), 4, 14),  # 13.33
    ],
)
def test_interpolate(sizes: tuple[int, ...], values: tuple[int, ...], micro_batch: int, expected: int) -> None:
    assert interpolate(sizes, values, micro_batch) == expected


def test_beyond_the_largest_size_bytes_grow_in_proportion_where_the_last_slope_is_less() -> None:
    assert interpolate_bytes((2, 8), (100, 160), 32) == 640  # 160 × 4; the last slope gives 400
    assert interpolate_bytes((2, 8), (1, 160), 32) == 160 + 159 * 24 // 6  # the last slope is more
    assert interpolate_bytes((2, 8), (100, 160), 8) == 160
    assert interpolate_bytes((2, 8), (100, 160), 5) == 130
