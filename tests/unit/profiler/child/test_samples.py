"""Samples on a device that does something else meanwhile: which count, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planner.profiler.child import samples
from planner.profiler.child.samples import Sampler
from planner.schema.disturbance import Disturbance, Samples


def _sampler(waits: list[float]) -> tuple[Sampler, Callable[[], tuple[float, ...]], list[float]]:
    """A sampler, and what it samples: calls that take 1, 2, 3 … ms without what each waited, in seconds."""
    waited = 0.0
    calls: list[float] = []

    def run() -> tuple[float, ...]:
        nonlocal waited
        calls.append((len(calls) + 1) / 1000)
        waited += waits[len(calls) - 1] if len(calls) <= len(waits) else waits[-1]
        return calls[-1], 2 * calls[-1]

    return Sampler(lambda: waited), run, calls


@pytest.fixture(autouse=True)
def five_short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the clock says that calls took: this test may be disturbed itself."""
    for name in ("LONG_SECONDS", "_ENOUGH_SECONDS", "_AGAIN_SECONDS"):
        monkeypatch.setattr(samples, name, 1e9)


def test_undisturbed_samples_are_taken_as_they_are() -> None:
    sampler, run, calls = _sampler([0.0])
    assert sampler.repeat(run) == pytest.approx((0.004, 0.008))  # the first of six was for warming up
    assert len(calls) == 6
    assert sampler.counted() == Samples(5, 0, 0)
    assert sampler.counted() == Samples()


def test_disturbed_samples_are_taken_again_and_do_not_count() -> None:
    sampler, run, calls = _sampler([0.0, *[1.0] * 6, 0.0])
    assert sampler.repeat(run) == pytest.approx((0.0085, 0.017))  # the eighth and the ninth call
    assert len(calls) == 9
    assert sampler.counted() == Samples(5, 3, 0)


def test_where_all_are_disturbed_the_least_disturbed_count_and_it_is_said() -> None:
    sampler, run, calls = _sampler([0.0, 3.0, 1.0, 3.0, 1.0, 9.0])
    assert sampler.repeat(run) == pytest.approx((0.004, 0.008))  # the third and the fifth call waited least
    assert len(calls) == 12
    assert sampler.counted() == Samples(5, 6, 2)


def test_long_samples_under_torchs_profiler_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "LONG_SECONDS", 0.06)
    sampler = Sampler(lambda: 0.0)
    sampler.saw(0.01, 5.0)  # is timed by itself
    sampler.saw(1.0, 0.0)
    sampler.saw(1.0, 0.5)
    assert sampler.counted() == Samples(2, 0, 1)


@pytest.mark.parametrize(
    ("counts", "stolen", "is_large"),
    [
        (Samples(100, 90, 10), 0, False),
        (Samples(100, 0, 11), 0, True),
        (Samples(100, 0, 0), 20, True),
        (Samples(100, 0, 0), None, False),
        (Samples(), 0, False),
    ],
)
def test_a_profile_is_marked_where_many_stay_disturbed_or_time_is_stolen(
    counts: Samples, stolen: int | None, is_large: bool
) -> None:
    assert Disturbance(counts, 300, stolen, 10).is_large is is_large


def test_counts_add_up() -> None:
    assert Samples(1, 2, 3) + Samples(10, 20, 30) == Samples(11, 22, 33)
