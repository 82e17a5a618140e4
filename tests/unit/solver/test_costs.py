"""Interpolation: a table's own points, and the straight lines between and beyond them, rounded up."""

from __future__ import annotations

import pytest

from planner.solver.costs import interpolate


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
