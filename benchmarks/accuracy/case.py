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
    overlap: int = 0
    """Units behind a segment that are its window."""
    held_out: int = 5000
    """Images that accuracy is measured on: test images, then those of the training part that nothing was trained on."""


HELD_OUT = 20000
"""Ten thousand test images and as many of the training part: five thousand alone make up half a point of chance
between two networks that answer a tenth of them differently."""

_HEADS: tuple[tuple[HeadKind, int], ...] = (("pooled-conv", 16), ("lookahead", 1), ("mlp", 16), ("reconstruct", 16))


def cases() -> Iterator[Case]:
    """All, in order; some more than once."""
    resnet, plain, vgg, deeper = (
        Case(name, 1, held_out=HELD_OUT) for name in ("resnet20-8", "plain12-8", "vgg11-8", "resnet32-8")
    )
    yield from _heads(resnet, (4,))
    yield from _heads(resnet, (0,), heads=_HEADS[2:])
    for segments in (0, 4):
        yield replace(resnet, segments=segments, overlap=1)
    for first in (vgg, deeper):
        yield from _heads(first, (4, 0), heads=_HEADS[:1])
    yield from _heads(resnet, (0, 2), heads=_HEADS[:2])
    for first in (vgg, deeper):
        yield from _heads(first, (0, 4), heads=_HEADS[1:])
    yield from _heads(plain, (4, 0))
    for seed in SEEDS[1:]:
        for first in (resnet, plain, vgg, deeper):
            yield from _heads(first, (4, 0), seed)
    for epochs in (5, 10, 40):  # backpropagation's curve
        yield replace(resnet, epochs=epochs)
    for name in ("mobilenetv2-8", "resnet20-16", "resnet32-16", "resnet20-8", "plain12-8", "vgg11-8", "resnet32-8"):
        for seed in SEEDS:
            first = Case(name, 1, seed=seed, held_out=HELD_OUT)
            yield from _heads(first, (4, 0, 2, 8), seed)
            for segments in (2, 4, 8, 0):
                yield replace(first, segments=segments, blocks="together")
                yield replace(first, segments=segments, overlap=1)


def _heads(
    first: Case, segments: tuple[int, ...], seed: int = 0, heads: tuple[tuple[HeadKind, int], ...] = _HEADS
) -> Iterator[Case]:
    """Backpropagation of a network, and every one of these heads at so many segments."""
    yield replace(first, seed=seed)
    for count in segments:
        for head, width in heads:
            yield replace(first, segments=count, head=head, width=width, seed=seed)
