"""The campaign's runs, the most telling first: it may be cut off anywhere, and go on another day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from planner.heads.base import HeadKind

LOG = Path(__file__).parent / "runs.jsonl"
"""What has been run."""

SEEDS = (0, 1, 2)
EPOCHS = 20


@dataclass(frozen=True)
class Case:
    """One run."""

    network: str
    """Name in `NETWORKS`."""
    segments: int
    """How many; 0: a segment per unit."""
    head: HeadKind = "pooled-conv"
    """What stands at cuts."""
    blocks: Literal["apart", "together"] = "apart"
    """Whether segments are trained one after another, each a block, or all at once in one block."""
    seed: int = 0
    """Of weights, order and augmentation."""
    epochs: int = EPOCHS
    """Of each block."""
    width: int = 16
    """Filters of the head, or as `thinning` says with a look-ahead: 1 as wide as the originals."""
    lr: float = 0.05
    """Learning rate of SGD at the start."""


_OTHER_HEADS: tuple[tuple[HeadKind, int], ...] = (("lookahead", 1), ("mlp", 16), ("reconstruct", 16))


def cases() -> Iterator[Case]:
    """All, in order; some more than once."""
    for name in ("resnet20-8", "plain12-8", "vgg11-8", "mobilenetv2-8", "resnet32-8", "resnet20-16", "resnet32-16"):
        yield from _of(Case(name, 1))


def _of(first: Case) -> Iterator[Case]:
    """Of one network: today's head, two seeds; heads; what together changes; the curve; all of it, three seeds."""
    for seed in SEEDS[:2]:
        for segments in (1, 4, 0):
            yield replace(first, segments=segments, seed=seed)
        yield replace(first, segments=4, blocks="together", seed=seed)
        yield replace(first, segments=8, seed=seed)
        for segments in (4, 0):
            yield replace(first, segments=segments, head="lookahead", width=1, seed=seed)
    yield replace(first, segments=2)
    yield replace(first, segments=0, blocks="together")
    for head, width in _OTHER_HEADS[1:]:
        yield replace(first, segments=4, head=head, width=width)
    for epochs in (5, 10, 40):  # backpropagation's curve
        yield replace(first, epochs=epochs)
    for seed in SEEDS:
        for segments in (1, 2, 4, 8, 0):
            yield replace(first, segments=segments, seed=seed)
            yield replace(first, segments=segments, blocks="together" if segments != 1 else "apart", seed=seed)
            for head, width in _OTHER_HEADS if segments != 1 else ():
                yield replace(first, segments=segments, head=head, width=width, seed=seed)
