"""How caches hold activations: bytes on storage, what converting takes in memory, and when fewer are taken unasked.

That the best of these plans is found is `test_oracle_campaign`'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from planner.schema.common import CacheDtype, Dtype
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.memory_model import live_bytes, time_ns
from planner.solver.plan import least_memory, make_plan
from planner.solver.predict import predict_block
from planner.solver.problem import BlockChoice, Problem
from tests.heads import heads
from tests.unit.solver.chains import SGD, zoo_profile
from tests.unit.solver.checked_plans import CACHED, CACHING, TRAINING, plan_of, problem_of, runs
from tests.unit.solver.two_units import tiny_profile

OUTPUT = 40
"""Bytes of what the first unit makes of a sample."""


def _problem(dtype: Dtype, kept: CacheDtype | None, storage: int | None = None) -> Problem:
    usual = problem_of(replace(tiny_profile(), dtype=dtype), training=replace(TRAINING, dtype=dtype))
    return Problem(usual.profile, replace(usual.request, cache_dtype=kept, storage_bytes=storage))


@pytest.mark.parametrize(
    ("dtype", "kept", "record"),
    [
        ("float32", "float32", 40 + 8),
        ("float32", "bfloat16", 20 + 8),
        ("float32", "uint8", 8 + 10 + 8),
        ("bfloat16", "float32", 80 + 8),
        ("bfloat16", "bfloat16", 40 + 8),
        ("bfloat16", "uint8", 8 + 20 + 8),
    ],
)
def test_bytes_and_seconds_follow_from_the_record(dtype: Dtype, kept: CacheDtype, record: int) -> None:
    problem = _problem(dtype, kept)
    assert problem.record_bytes(1) == record
    assert problem.cache_bytes(1) == 5 * record
    # Written at 2 MB/s, read at 1 MB/s, by a unit that is faster than that.
    writing = time_ns(problem, CACHING).finish - time_ns(_problem(dtype, dtype), CACHING).finish
    assert writing == 5 * (record - 48) * 500
    assert time_ns(problem, CACHED).epoch == 5 * record * 1000


@pytest.mark.parametrize(
    ("dtype", "kept", "read", "written"),
    [
        ("float32", "float32", 0, 0),
        # The micro-batch in float32; one sample in bfloat16 and the one before.
        ("float32", "bfloat16", 2 * OUTPUT, 2 * OUTPUT // 2),
        # A sample's distance from its least value, that in steps, and no more than half of it in 8-bit numbers.
        ("float32", "uint8", 2 * OUTPUT, 3 * OUTPUT),
        ("bfloat16", "float32", 2 * OUTPUT, 2 * 2 * OUTPUT),
        ("bfloat16", "bfloat16", 0, 0),
        ("bfloat16", "uint8", 2 * OUTPUT + 2 * 2 * OUTPUT, OUTPUT + 3 * 2 * OUTPUT),
    ],
)
def test_what_converting_takes_is_counted(dtype: Dtype, kept: CacheDtype, read: int, written: int) -> None:
    problem, usual = _problem(dtype, kept), _problem(dtype, dtype)
    buffers = 2 * 2 * (problem.record_bytes(1) - usual.record_bytes(1))
    assert live_bytes(problem, CACHED).data - live_bytes(usual, CACHED).data == buffers + read
    assert live_bytes(problem, CACHING).cache - live_bytes(usual, CACHING).cache == written
    for choice, run in zip((CACHING, CACHED), runs(problem, CACHING, CACHED), strict=True):
        assert run.phases() == predict_block(problem, choice).peak_bytes_by_phase
    assert plan_of(problem, CACHING, CACHED).cache_dtype == kept


@pytest.fixture(scope="module")
def profile() -> Profile:
    return zoo_profile("cnn6", (1, 4, 16, 64))


def test_storage_that_does_not_hold_the_two_largest_caches_makes_them_bfloat16(profile: Profile) -> None:
    training = Training(64, 2, 5000, SGD)
    largest = sorted(5000 * (unit.output_bytes + 8) for unit in profile.units[:-1])[-2:]
    for storage, kept in ((sum(largest), "float32"), (sum(largest) - 1, "bfloat16"), (None, "float32")):
        request = Request(Budget(2**40, "process"), training, storage)
        assert Problem(profile, request).cache_dtype == kept
        # At every budget alike, or a larger one could be slower.
        assert Problem(profile, replace(request, budget=Budget(1, "process"))).cache_dtype == kept
        assert Problem(profile, replace(request, cache_dtype="uint8")).cache_dtype == "uint8"
    half = replace(profile, dtype="bfloat16")
    few = Request(Budget(2**40, "process"), replace(training, dtype="bfloat16"), 1)
    assert Problem(half, few).cache_dtype == "bfloat16"


@pytest.mark.parametrize("kept", get_args(CacheDtype))
def test_a_plan_says_what_its_caches_hold(profile: Profile, kept: CacheDtype) -> None:
    request = Request(Budget(2**40, "process"), Training(64, 2, 5000, SGD), strategy="neuroflux", cache_dtype=kept)
    least = least_memory(profile, request)
    plan = make_plan(profile, replace(request, budget=Budget(least, "process")))
    assert len(plan.blocks) > 1
    assert [block.input.dtype for block in plan.blocks] == ["uint8", *[kept] * (len(plan.blocks) - 1)]


def test_an_end_of_the_chain_writes_nothing() -> None:
    problem = _problem("float32", "uint8")
    assert live_bytes(problem, BlockChoice(0, 2, (2,), heads(0))).cache == 0
