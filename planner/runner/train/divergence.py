"""When training has diverged: a loss or a weight that is no number, or a loss that stays far above where it began."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from planner.training.tasks import Arithmetic

TIMES = 10.0
"""So many times what a segment's loss began at, or what answering 0 to everything would lose, whichever is more, is far
above it."""

STEPS = 200
"""So many in a row count as no spike. Of 227 short runs with finite losses this stops 23, of which 1 came back, and
overlooks 2 that ended far above; 100 steps stop 2 that came back, 50 stop 6 (`benchmarks/divergence.py`). A run that
is stopped wrongly costs more than one that is stopped late."""


def loss_of_zeros(task: Arithmetic, labels: Tensor, output: tuple[int, ...]) -> float:
    """What a network loses that answers 0 to everything, for labels (micro-batch, …) and one sample's `output`.

    Sample by sample: it takes less memory than a step's own loss.
    """
    zeros = torch.zeros(1, *output, device=labels.device)
    with torch.no_grad():
        losses = [float(task.loss(zeros, labels[at : at + 1])) for at in range(len(labels))]
    return sum(losses) / len(losses)


def begins_at(losses: Sequence[float], of_zeros: float) -> tuple[float, ...]:
    """What later losses of every segment are held against, from those of the first step."""
    return tuple(max(loss, of_zeros) for loss in losses)


def first_bad(losses: Sequence[float]) -> int | None:
    """The first segment whose loss is no finite number."""
    return next((index for index, loss in enumerate(losses) if not math.isfinite(loss)), None)


def highest(losses: Sequence[float], began_at: Sequence[float]) -> int | None:
    """The first segment whose loss is far above where it began; one that began at 0 has no such place."""
    pairs = enumerate(zip(losses, began_at, strict=True))
    return next((index for index, (loss, began) in pairs if loss > TIMES * began > 0), None)


def first_unfinite(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """The first tensor with a number that is not finite. Copies none."""
    for name, tensor in named:
        if tensor.is_floating_point() and not all(bool(extreme.isfinite()) for extreme in torch.aminmax(tensor)):
            return name
    return None
