"""Timing something several times on a device that may do something else meanwhile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from planner.schema.disturbance import Samples

_LEAST_REPEATS = 2
_MOST_REPEATS = 5
_ENOUGH_SECONDS = 0.05

LONG_SECONDS = 0.06
"""What takes longer needs no warming up, and is timed well enough under torch.profiler."""

_DISTURBED_SHARE = 0.02
"""Of a sample's time, from which on waiting for a processor disturbs it: what waits loses its caches as well."""

_MOST_AGAIN = 6
_AGAIN_SECONDS = 1.0
"""Disturbed samples are taken again, so often and for so long."""


@dataclass
class Sampler:
    """Takes samples, and counts them and how they were disturbed."""

    waited_seconds: Callable[[], float]
    """What the clock of the samples has left out so far (`planner.system.waiting.Clock`)."""
    taken: int = 0
    """Samples that count or were to."""
    again: int = 0
    """Taken in place of disturbed ones."""
    disturbed: int = 0
    """Disturbed ones that count for want of better ones."""

    def saw(self, seconds: float, waited_seconds: float) -> None:
        """Count a sample that was taken without asking, if it was a long one."""
        if seconds > LONG_SECONDS:
            self.taken += 1
            self.disturbed += waited_seconds > _DISTURBED_SHARE * (seconds + waited_seconds)

    def counted(self) -> Samples:
        """Since the last call."""
        found = Samples(self.taken, self.again, self.disturbed)
        self.taken = self.again = self.disturbed = 0
        return found

    def repeat(self, run: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
        """Medians, by position, of what two to five calls of `run` return, of undisturbed ones where there are enough.

        A first call is for warming up, unless it took long: then it counts, since what warming adds to it is small.
        """
        started = time.perf_counter()
        first = self._sample(run)
        if time.perf_counter() - started > LONG_SECONDS:
            found, least = [first, self._sample(run)], 1
            middle: Callable[[tuple[float, ...]], float] = min
        else:
            found, least, middle = [], _LEAST_REPEATS, statistics.median
            started = time.perf_counter()
            while len(found) < least or (
                len(found) < _MOST_REPEATS and time.perf_counter() - started < _ENOUGH_SECONDS
            ):
                found.append(self._sample(run))
        return tuple(map(middle, zip(*self._best(run, found, least), strict=True)))

    def _sample(self, run: Callable[[], tuple[float, ...]]) -> tuple[float, tuple[float, ...]]:
        """The share of its time that a call waited, and what it returns."""
        before = self.waited_seconds()
        times = run()
        waited = self.waited_seconds() - before
        return waited / max(1e-9, waited + sum(times)), times

    def _best(
        self, run: Callable[[], tuple[float, ...]], found: list[tuple[float, tuple[float, ...]]], least: int
    ) -> list[tuple[float, ...]]:
        """Of the samples found, or of those taken again, at least so many: the undisturbed, or the least disturbed."""
        started, again = time.perf_counter(), 0

        def quiet() -> list[tuple[float, ...]]:
            return [times for share, times in found if share <= _DISTURBED_SHARE]

        while len(quiet()) < least and again < _MOST_AGAIN and time.perf_counter() - started < _AGAIN_SECONDS:
            found.append(self._sample(run))
            again += 1
        self.taken += len(found) - again
        self.again += again
        enough = quiet()
        if len(enough) >= least:
            return enough
        self.disturbed += least - len(enough)
        return [times for _, times in sorted(found)[:least]]
