"""Which short batches meet every state that a block's training has: the dry steps, as sizes of micro-batches.

What a micro-batch takes depends on its size, on whether gradients exist (from a batch's second micro-batch on, where
it accumulates), and on whether the optimizer's state exists (from the second step on).
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.runner.input.samples import count_batches, list_batches


def rehearsal(count: int, batch: int, micro_batch: int, least: int, steps: int) -> list[tuple[int, ...]]:
    """Batches to be done one behind the other on a fresh block, each as the sizes of its micro-batches.

    `steps` optimizer steps are taken over `count` samples, epoch after epoch. Only the first batch meets no optimizer
    state, in training as here; behind it every batch that differs from others comes once: whole ones, an epoch's last.
    """
    per_epoch = count_batches(count, batch, micro_batch, least)
    steps_to_take = sorted({step for step in (0, 1, per_epoch - 1, per_epoch) if 0 <= step < steps})
    batches = [
        _short(next(iter(list_batches(count, batch, micro_batch, least, step % per_epoch))), micro_batch)
        for step in steps_to_take
    ]
    return [*batches[:1], *dict.fromkeys(batches[1:])]


def _short(spans: Sequence[tuple[int, int]], micro_batch: int) -> tuple[int, ...]:
    """The first micro-batch, one that meets gradients, and the odd last one: all others are as the second."""
    sizes = [last - first for first, last in spans]
    odd = [size for size in sizes[2:] if size != micro_batch]
    return (*sizes[:2], *odd)
