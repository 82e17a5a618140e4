"""Micro-batches that a block may fall back to. No torch here: the supervisor asks as well."""

from __future__ import annotations

from planner.schema.plan import Block


def sizes_of(block: Block) -> tuple[int, ...]:
    """Micro-batches of a block's settings, falling, and behind them smaller ones for what runs without gradients.

    Those need no whole batch and normalise by what was learned, so they go down to one sample whatever the settings.
    """
    sizes = [setting.micro_batch for setting in block.settings]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    return tuple(sizes)
