"""Micro-batches that a block may fall back to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.runner.protocol.sizes import sizes_of
from planner.schema.plan import BatchSetting
from tests.unit.runner.train.test_block import make_plan


@pytest.mark.parametrize(
    ("micro_batch", "ladder", "sizes"),
    [
        (8, (), (8, 4, 2, 1)),
        (8, (4, 2), (8, 4, 2, 1)),
        (6, (3,), (6, 3, 1)),
        (1, (), (1,)),
        (100, (50,), (100, 50, 25, 12, 6, 3, 1)),
    ],
)
def test_the_ladder_comes_first_and_one_sample_last(
    micro_batch: int, ladder: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    block = make_plan((0, 6)).blocks[0]
    fallbacks = tuple(BatchSetting(size, 1, block.predicted) for size in ladder)
    assert sizes_of(replace(block, micro_batch=micro_batch, accumulate=1, ladder=fallbacks)) == sizes
