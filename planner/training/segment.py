"""One segment's forward and backward: what profiler and runner share, so that what is measured is what runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.training.recompute import recomputed

Spans = Sequence[tuple[int, int]]
"""Spans of a segment's units, [first, last_exclusive], rising and apart."""


def segment_loss(
    units: Sequence[nn.Module], head: nn.Module | None, inputs: Tensor, labels: Tensor, recompute: Spans = ()
) -> tuple[Tensor, Tensor]:
    """Forward through `units` and `head`.

    `inputs` is (micro-batch, …), `labels` (micro-batch) of int64. Spans in `recompute` run forward again in backward
    instead of keeping what they save. Returns the mean cross-entropy (a scalar) and the last unit's output, still part
    of the graph. Without a head, that output is the logits. The loss is taken in float32 whatever the units compute in.
    """
    output, done = inputs, 0
    for first, end in (*recompute, (len(units), len(units))):
        for unit in units[done:first]:
            output = unit(output)
        if first < end:
            output = recomputed(units[first:end], output)
        done = end
    logits = output if head is None else head(output)
    return F.cross_entropy(logits.float(), labels), output


def train_segment(
    units: Sequence[nn.Module],
    head: nn.Module | None,
    inputs: Tensor,
    labels: Tensor,
    weight: float = 1.0,
    hold_output: bool = False,
    recompute: Spans = (),
) -> tuple[Tensor, Tensor | None]:
    """Forward and backward of one micro-batch; gradients accumulate in the parameters.

    `weight` is the micro-batch's share of its batch; `recompute` is as in `segment_loss`. Returns the loss (a detached
    scalar, not weighted) and, if asked to hold it, the last unit's output cut off from the graph: the next segment's
    input. Nothing else outlives the call.
    """
    loss, output = segment_loss(units, head, inputs, labels, recompute)
    held = output.detach() if hold_output else None
    del output
    (loss * weight if weight != 1.0 else loss).backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    return loss.detach(), held


@torch.no_grad()
def infer(units: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """The last unit's output without gradients. Modules have to be in evaluation mode."""
    output = inputs
    for unit in units:
        output = unit(output)
    return output
