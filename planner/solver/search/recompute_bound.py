"""How little time recomputation takes that sheds so many bytes: a lower bound for all segments at once.

When a segment's head runs, everything that its units keep is there. A recomputed unit sheds at most what it keeps, and
takes its forward again: a knapsack, relaxed to fractions and bounded by duality. For any price of a byte, the time is
at least the price times the bytes to shed, less what every unit whose price is higher than its time gains by that. The
second part is a sum over units, so that one price takes one running sum; of several prices the best bound counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from planner.solver.costs import ComponentCost

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

SLACK = 1e-12
"""Share by which bounds are lowered against rounding; sums of thousands of doubles are off by less."""


class RecomputeBound:
    """Bounds on the replays of a chain's segments, at one micro-batch."""

    def __init__(self, units: tuple[ComponentCost, ...], most_kept: list[int], prices: int) -> None:
        """`most_kept`: what each unit keeps at most."""
        times = np.array([unit.forward_ns for unit in units], dtype=np.float64)
        sheds = np.array(most_kept, dtype=np.float64)
        self.prices = _multipliers(times, sheds, prices)
        """Nanoseconds per byte."""
        gains = np.minimum(0.0, times - self.prices[:, None] * sheds)
        self.gains = np.concatenate((np.zeros((len(self.prices), 1)), np.cumsum(gains, axis=1)), axis=1)
        """By price and boundary: sums over the units before it, 0 or less."""

    def least(self, starts: Integers, ends: Integers, shed: Reals) -> Reals:
        """Nanoseconds of a micro-batch for segments by start and end that have to shed so many bytes, at least."""
        found = np.zeros_like(shed)
        if shed.max(initial=0.0) <= 0:
            return found
        for price, gains in zip(self.prices.tolist(), self.gains, strict=True):
            gained = gains[ends] - gains[starts]
            loss = SLACK * (price * np.abs(shed) - gains[ends])
            np.maximum(found, price * shed + gained - loss, out=found)
        return found


def _multipliers(times: Reals, sheds: Reals, count: int) -> Reals:
    """Prices at which units change sides, spread evenly over the units."""
    some = sheds > 0
    if not some.any():
        return np.zeros(0)
    ratios = np.unique(times[some] / sheds[some])
    indices = np.unique(np.linspace(0, len(ratios) - 1, count).round().astype(np.int64))
    found: Reals = ratios[indices]
    return found
