"""A pass over samples is rehearsed at both of its sizes, and watched between micro-batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from planner.errors import InterruptedRunError, OverBudgetError
from planner.model.activations import Activations, first_of
from planner.runner.input.samples import Samples
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.passes import Watch, rehearse
from planner.runner.train.stop import StopSignal
from planner.schema.preprocessing import USUAL
from planner.system.proc import read_memory
from planner.tasks.base import CLASS_NUMBER
from tests.unit.runner.train.test_train import Images


@pytest.mark.parametrize(
    ("samples", "views", "sizes"),
    [(20, 1, [4, 8]), (16, 1, [8]), (5, 1, [5]), (20, 2, [8]), (4, 3, [4, 8])],
)
def test_it_is_rehearsed_at_the_sizes_that_it_has(samples: int, views: int, sizes: list[int]) -> None:
    """Oracle: the sizes of the pass itself."""
    data = Samples(Images(samples), (1, 8, 8), cached=None, micro_batch=8, labels=CLASS_NUMBER, normalisation=USUAL)
    count = views * data.count
    passed = {len(labels) for _, labels in data.in_order(0, None, views)}
    seen: list[int | str] = []
    unit = nn.Identity().eval()

    def run(inputs: Activations, labels: Tensor) -> None:
        assert len(first_of(inputs)) == len(labels)
        seen.append(len(labels))
        unit(inputs)

    watch = Watch(StopSignal(), MemoryGuard(None), "passing", has_smaller=True)
    rehearse([unit], run, data, count, watch, lambda: seen.append("ready"))
    assert seen == [*sizes, "ready", *sizes]
    assert set(sizes) == passed


def test_a_peak_above_what_is_allowed_ends_a_pass_that_can_be_smaller() -> None:
    guard = MemoryGuard(read_memory().resident_bytes // 2)
    with pytest.raises(OverBudgetError, match=r"^passing took .* are allowed$"):
        Watch(StopSignal(), guard, "passing", has_smaller=True).check()
    Watch(StopSignal(), guard, "passing", has_smaller=False).check()
    assert guard.phase_peak_bytes >= read_memory().resident_bytes // 2  # remembered, for the report


def test_a_wish_to_stop_ends_any_pass() -> None:
    stop = StopSignal()
    stop.set()
    with pytest.raises(InterruptedRunError):
        Watch(stop, MemoryGuard(None), "passing", has_smaller=False).check()


def test_nothing_that_a_rehearsal_made_is_left() -> None:
    data = Samples(Images(20), (1, 8, 8), cached=None, micro_batch=8, labels=CLASS_NUMBER, normalisation=USUAL)
    left: list[Tensor] = []

    def run(inputs: Activations, labels: Tensor) -> Tensor:
        left.append(first_of(inputs).detach())
        return torch.zeros(len(labels))

    watch = Watch(StopSignal(), MemoryGuard(None), "passing", has_smaller=True)
    rehearse([], run, data, data.count, watch, lambda: None)
    assert len(left) == 4
