"""Requests that cannot be answered, and what the person is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InputError
from planner.schema.common import OptimizerConfig
from planner.schema.profile import HeadProfile
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import least_memory, make_plan
from tests.heads import heads
from tests.unit import joint_chains
from tests.unit.solver.two_units import FIRST, HEAD, SECOND, SGD, tiny_profile

REQUEST = Request(Budget(10**7, "training"), Training(batch=2, epochs=1, samples=4, optimizer=SGD))


@pytest.mark.parametrize(
    "optimizer",
    [OptimizerConfig(kind="sgd", lr=0.1), OptimizerConfig(kind="adam", lr=0.1), OptimizerConfig(kind="adamw", lr=0.1)],
)
def test_optimizer_that_was_not_measured(optimizer: OptimizerConfig) -> None:
    request = replace(REQUEST, training=replace(REQUEST.training, optimizer=optimizer))
    with pytest.raises(InputError, match=f"optimizer is {optimizer.kind} .* measured sgd with 1"):
        make_plan(tiny_profile(), request)


def test_other_learning_rate_and_momentum_are_fine() -> None:
    optimizer = OptimizerConfig(kind="sgd", lr=0.5, momentum=0.5, nesterov=True)
    request = replace(REQUEST, training=replace(REQUEST.training, optimizer=optimizer))
    assert make_plan(tiny_profile(), request).training.optimizer == optimizer


def test_batch_below_what_normalisation_needs() -> None:
    profile = tiny_profile((FIRST, replace(SECOND, minimum_micro_batch=2)))
    request = replace(REQUEST, training=replace(REQUEST.training, batch=1))
    with pytest.raises(InputError, match=r"batch is 1: .* needs at least 2"):
        least_memory(profile, request)


def test_prime_batch_beyond_the_reach_of_the_profile() -> None:
    # The largest profiled micro-batch is 2, so that 8 is the most; 11 has no divisor but 1 up to there.
    profile = tiny_profile((FIRST, replace(SECOND, minimum_micro_batch=2)))
    request = replace(REQUEST, training=replace(REQUEST.training, batch=11))
    with pytest.raises(InputError, match=r"batch is 11: .* is 1, but batch normalisation needs at least 2"):
        make_plan(profile, request)


def test_strategy_whose_heads_need_a_larger_batch() -> None:
    profile = tiny_profile(heads=(HeadProfile(1, "auxiliary", 8, replace(HEAD, minimum_micro_batch=2)),))
    request = replace(REQUEST, training=replace(REQUEST.training, batch=1), strategy="classic-local")
    with pytest.raises(InputError, match="batch is 1: strategy classic-local"):
        make_plan(profile, request)


def test_what_ends_where_several_tensors_pass_is_trained_by_the_first() -> None:
    model = joint_chains.model(joint_chains.UNET)
    heads_behind = tuple(HeadProfile(boundary, "auxiliary", 8, HEAD) for boundary in (1, 2, 3))
    profile = replace(tiny_profile((FIRST,) * 5, heads_behind), model=model)
    frozen = make_plan(profile, replace(REQUEST, training=replace(REQUEST.training, freeze=3)))
    assert frozen.blocks[0].units[0] == 3  # nothing ends there that is trained
    assert [found.unit for found in make_plan(profile, REQUEST).exits] == [1, 2, 3, 4, 5]
    finest = make_plan(profile, replace(REQUEST, strategy="classic-local"))
    assert [segment.units[1] for block in finest.blocks for segment in block.segments] == [1, 2, 3, 5]


def test_nothing_ends_where_the_first_tensor_would_not_train_all() -> None:
    model = joint_chains.model(joint_chains.FORKED)
    profile = replace(tiny_profile((FIRST,) * 4, (HeadProfile(1, "auxiliary", 8, HEAD),)), model=model)
    refused = "behind 2 units, 'b' the last of them, 2 tensors pass, and the first, which a head would read, does not"
    with pytest.raises(ValueError, match=f"heads: {refused}"):
        replace(profile, heads=(*profile.heads, HeadProfile(2, "auxiliary", 8, HEAD)))
    assert make_plan(profile, replace(REQUEST, strategy="checkpoint")).cuts == 0
    plan = make_plan(profile, REQUEST)
    assert [found.unit for found in plan.exits] == [1, 3, 4]
    (block,) = plan.blocks
    (segment,) = block.segments
    two = (replace(segment, units=(0, 2), head=heads(8)[0]), replace(segment, units=(2, 4)))
    with pytest.raises(ValueError, match=f"segments: {refused}"):
        replace(plan, blocks=(replace(block, segments=two),))
