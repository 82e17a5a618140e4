"""Metrics that are the better, the lower they are: errors and perplexity."""

from __future__ import annotations

from planner.tasks.base import Metric


class MeanError(Metric):
    """A number from 0 on, in the units of what was to be found. Points of a tolerance are per cent of the best."""

    higher_is_better = False

    def __init__(self, name: str) -> None:
        self.name = name

    def is_within(self, points: float, value: float, best: float) -> bool:
        return value <= best * (1 + points / 100) + 1e-12 * abs(best)

    def tolerance(self, points: float) -> str:
        """`0.5 %`."""
        return f"{points:g} %"

    def cell(self, value: float, samples: int | None) -> str:
        """`0.1234`."""
        return f"{value:.4g}"

    def share(self, value: float, samples: int | None) -> str:
        """`0.1234 on 1,000 samples`."""
        if samples is None:
            return f"{value:.4g}"
        return f"{value:.4g} on {samples:,} {'sample' if samples == 1 else 'samples'}"

    def sentence(self, value: float, samples: int | None) -> str:
        """`0.1234 on 1,000 test samples`."""
        if samples is None:
            return f"{value:.4g} on test samples"
        return f"{value:.4g} on {samples:,} test {'sample' if samples == 1 else 'samples'}"
