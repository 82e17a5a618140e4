"""Another device's plan beside what starting takes here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InfeasibleError
from planner.runner.train.foreign import fallbacks_here
from planner.schema.plan import BatchSetting, Plan
from planner.schema.prediction import BlockPrediction
from planner.schema.request import Scope
from tests.fault.support import BATCH, small_plan
from tests.unit.system.support import MIB

RUNTIME = 120 * MIB
"""Of child and supervisor, as the plan counts them."""


def plan_of(*dynamic_of_blocks: tuple[int, ...], scope: Scope = "process") -> Plan:
    """A plan of three blocks, each of settings that take so many MiB beside the runtime, the plan's own first."""
    plan = small_plan()
    runtime = RUNTIME if scope == "process" else 0

    def predicted(found: BlockPrediction, dynamic: int) -> BlockPrediction:
        breakdown = replace(found.breakdown, runtime=runtime)
        return replace(found, peak_bytes=runtime + dynamic * MIB, breakdown=breakdown)

    blocks = tuple(
        replace(
            block,
            predicted=predicted(block.predicted, sizes[0]),
            ladder=tuple(
                BatchSetting(BATCH >> number, 2**number, predicted(block.predicted, size))
                for number, size in enumerate(sizes[1:], start=1)
            ),
        )
        for block, sizes in zip(plan.blocks, dynamic_of_blocks, strict=True)
    )
    return replace(plan, blocks=blocks, budget=replace(plan.budget, bytes=200 * MIB, scope=scope))


PLAN = plan_of((80, 40, 20), (70,), (50, 30))
WHY = "another device's plan"


@pytest.mark.parametrize(
    ("baseline", "fallbacks"), [(100, (0, 0, 0)), (101, (1, 0, 0)), (110, (1, 0, 0)), (70, (0, 0, 0))], ids=str
)
def test_every_block_begins_with_what_fits_beside_starting(baseline: int, fallbacks: tuple[int, ...]) -> None:
    assert fallbacks_here(PLAN, 180 * MIB, baseline * MIB, 0, WHY) == fallbacks


def test_a_block_without_a_setting_that_fits_is_infeasible() -> None:
    with pytest.raises(InfeasibleError) as caught:
        fallbacks_here(PLAN, 180 * MIB, 111 * MIB, 0, WHY)
    assert caught.value.minimum_bytes == 201 * MIB  # block 1 lacks one MiB
    assert "needs at least 181.0 MiB of its 180.0 MiB" in str(caught.value)
    assert str(caught.value).startswith("another device's plan does not fit here")


def test_starting_itself_counts_where_everything_resident_does() -> None:
    with pytest.raises(InfeasibleError) as caught:
        fallbacks_here(PLAN, 180 * MIB, 100 * MIB, 190 * MIB, WHY)
    assert caught.value.minimum_bytes == 210 * MIB
    tensors = plan_of((80,), (70,), (50,), scope="training")
    assert fallbacks_here(tensors, 180 * MIB, 100 * MIB, 190 * MIB, WHY) == (0, 0, 0)


def test_without_a_guard_everything_fits() -> None:
    assert fallbacks_here(PLAN, None, 10**12, 10**12, WHY) == (0, 0, 0)
