"""An accelerator's guard: against numbers that a GPU might tell, for none is here, and a GPU where there is one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from planner.errors import OverBudgetError
from planner.runner.protocol.job import TrainingJob
from planner.runner.train.accelerator_guard import AcceleratorGuard
from planner.runner.train.child import make_guard
from planner.runner.train.train import draw_from
from planner.system.exhaustion import is_out_of_memory
from planner.training.device import accelerator_of
from planner.training.runtime import Started, start_accelerator
from planner.units import MIB
from tests.gpu import CONTEXT, TOTAL, Told, tell_of_a_gpu
from tests.unit.runner.train.test_child import two_blocks


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What `torch.cuda` says."""
    return tell_of_a_gpu(monkeypatch)


def _guard(allowed: int | None) -> AcceleratorGuard:
    return AcceleratorGuard(accelerator_of("cuda"), allowed, CONTEXT)


def test_what_a_process_takes_is_its_context_and_what_is_reserved_and_never_what_others_had(told: Told) -> None:
    guard = _guard(None)
    guard.begin_block()
    told.reserve(500 * MIB, kept=100 * MIB)
    found = guard.take()
    assert (found.peak_bytes, found.resident_bytes) == (CONTEXT + 500 * MIB, CONTEXT + 100 * MIB)
    told.beside += 20 * MIB  # kernels loaded since
    found = guard.take()
    assert (found.peak_bytes, found.resident_bytes) == (CONTEXT + 120 * MIB, CONTEXT + 120 * MIB)
    assert guard.block_peak_bytes == guard.life_peak_bytes == CONTEXT + 500 * MIB
    guard.begin_block()
    assert (guard.block_peak_bytes, guard.life_peak_bytes) == (0, CONTEXT + 500 * MIB)


def test_the_allocator_may_reserve_what_the_budget_leaves_beside_the_context(told: Told) -> None:
    guard = _guard(800 * MIB)
    guard.begin_block()
    assert told.limit == 500 * MIB
    told.beside += 30 * MIB
    guard.limit()
    assert told.limit == 470 * MIB
    guard.release()
    assert told.limit == TOTAL


def test_a_budget_below_the_context_leaves_nothing(told: Told) -> None:
    _guard(CONTEXT - MIB).limit()
    assert told.limit == 0


def test_a_peak_above_the_budget_is_an_error_that_says_both(told: Told) -> None:
    guard = _guard(400 * MIB)
    guard.begin_block()
    told.reserve(99 * MIB)
    guard.check("its dry step")
    told.reserve(101 * MIB)
    with pytest.raises(OverBudgetError, match=r"its dry step took 401\.0 MiB, 400\.0 MiB are allowed"):
        guard.check("its dry step")


@pytest.mark.parametrize(("above", "limit"), [(False, 200 * MIB), (True, 500 * MIB)])
def test_a_budget_above_the_baseline_leaves_all_of_itself(told: Told, above: bool, limit: int) -> None:
    plan = two_blocks()
    plan = replace(plan, device=replace(plan.device, kind="cuda"), baseline_bytes=CONTEXT)
    job = TrainingJob("out", "sample", allowed_bytes=500 * MIB, above_baseline=above)
    guard = make_guard(job, plan, Started(CONTEXT, CONTEXT))
    guard.limit()
    assert told.limit == limit


def test_every_stream_of_random_numbers_is_a_function_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a GPU is played by one of the processor's."""
    theirs = torch.Generator()
    monkeypatch.setattr(torch.cuda, "default_generators", (theirs,))
    drawn = []
    for step in (1, 2, 1):
        draw_from(torch.device("cuda", 0), 7, step)
        drawn.append((torch.rand(3).tolist(), torch.rand(3, generator=theirs).tolist()))
    assert drawn[0] == drawn[2]
    assert drawn[0][0] != drawn[1][0] and drawn[0][1] != drawn[1][1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_a_gpu_an_allocation_above_the_budget_is_refused_and_one_below_is_not() -> None:
    backend = start_accelerator("cuda")
    device = backend.device
    guard = AcceleratorGuard(backend, 400 * MIB, 300 * MIB)
    guard.begin_block()
    try:
        held = torch.ones(60 * MIB, dtype=torch.uint8, device=device)
        assert 360 * MIB <= guard.take().peak_bytes <= 400 * MIB
        with pytest.raises(RuntimeError) as refused:
            torch.ones(60 * MIB, dtype=torch.uint8, device=device)
        assert is_out_of_memory(refused.value)
        assert guard.take().peak_bytes <= 400 * MIB
        del held
    finally:
        guard.release()
