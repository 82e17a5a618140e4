"""How much an accuracy says, against the equation that Wilson's interval solves and against published values."""

from __future__ import annotations

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.tasks.accuracy import Accuracy, wilson


@given(st.data())
def test_each_bound_is_as_many_standard_errors_away_as_95_percent_want(data: st.DataObject) -> None:
    """Wilson's bounds are the shares p with |p̂ - p| = z · √(p (1 - p) / n); z² by the chi-squared table: 3.841."""
    samples = data.draw(st.integers(1, 10**6))
    accuracy = data.draw(st.integers(0, samples)) / samples
    low, high = wilson(accuracy, samples)
    assert 0 <= low <= accuracy <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            square = (accuracy - bound) ** 2 * samples / (bound * (1 - bound))
            assert isclose(square, 3.841458820694124, rel_tol=1e-6)


@pytest.mark.parametrize(
    ("right", "samples", "low", "high"),
    [
        (0, 1, 0.0, 0.7934567),  # z² / (1 + z²)
        (1, 1, 0.2065433, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998), table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(right: int, samples: int, low: float, high: float) -> None:
    assert wilson(right / samples, samples) == pytest.approx((low, high), abs=5e-5)


def test_how_it_is_told() -> None:
    accuracy = Accuracy()
    assert accuracy.sentence(0.0, 1) == "0 of 1 test sample (95% interval: 0.0% to 79.3%)"
    assert accuracy.sentence(0.99, 99) == "98 of 99 test samples (95% interval: 94.5% to 99.8%)"
    assert accuracy.sentence(0.812, 1000) == "81.2% of 1,000 test samples (95% interval: 78.7% to 83.5%)"
    assert accuracy.sentence(0.9131, 10_000) == "91.31% of 10,000 test samples"
    assert accuracy.sentence(0.9131, None) == "91.3% of test samples"
    assert [accuracy.share(0.75, count) for count in (None, 4, 100)] == ["75.0%", "3 of 4", "75.0% of 100"]
    assert [accuracy.cell(0.75, count) for count in (None, 4, 100)] == ["75.0%", "3/4", "75.0%"]
