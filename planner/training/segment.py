"""One segment's forward and backward: what profiler and runner share, so that what is measured is what runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from planner.model.activations import Activations, each, first_of
from planner.training.heads import DecodingHead
from planner.training.recompute import recomputed

Spans = Sequence[tuple[int, int]]
"""Spans of a segment's units, [first, last_exclusive], rising and apart."""


Loss = Callable[[Tensor, Tensor], Tensor]
"""From float32 outputs (micro-batch, …) and their labels to the mean loss (a scalar)."""


def segment_loss(
    units: Sequence[nn.Module],
    head: nn.Module | None,
    loss: Loss,
    inputs: Activations,
    labels: Tensor,
    recompute: Spans = (),
    window: Sequence[nn.Module] = (),
) -> tuple[Tensor, Activations]:
    """Forward through `units`, `window` and `head`.

    `inputs` is (micro-batch, …), `labels` what `loss` takes. Spans in `recompute` run forward again in backward instead
    of keeping what they save. Returns the loss and the output of the last of `units`, still part of the graph. Without
    a head, the loss is that of what comes out. It is taken in float32 whatever the units compute in. Of several tensors
    a head reads the first; one that makes `inputs` again adds what that lacks of their first.
    """
    passing: Activations = inputs
    done = 0
    for first, end in (*recompute, (len(units), len(units))):
        for unit in units[done:first]:
            passing = unit(passing)
        if first < end:
            passing = recomputed(units[first:end], passing)
        done = end
    output = passing
    for unit in window:
        passing = unit(passing)
    last = first_of(passing)
    ending = last if head is None else head(last)
    found = loss(ending.float(), labels)
    del ending
    return head.joined(found, last, first_of(inputs)) if isinstance(head, DecodingHead) else found, output


def train_segment(
    units: Sequence[nn.Module],
    head: nn.Module | None,
    loss: Loss,
    inputs: Activations,
    labels: Tensor,
    weight: float = 1.0,
    hold_output: bool = False,
    recompute: Spans = (),
    window: Sequence[nn.Module] = (),
) -> tuple[Tensor, Activations | None]:
    """Forward and backward of one micro-batch; gradients accumulate in the parameters.

    `weight` is the micro-batch's share of its batch; `recompute` and `window` are as in `segment_loss`. Returns the
    loss (a detached scalar, not weighted) and, if asked to hold it, the output of the last of `units` cut off from the
    graph: the next segment's input. Nothing else outlives the call.
    """
    found, output = segment_loss(units, head, loss, inputs, labels, recompute, window)
    held = each(output, Tensor.detach) if hold_output else None
    del output
    (found * weight if weight != 1.0 else found).backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    return found.detach(), held


@torch.no_grad()
def infer(units: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """The last unit's output without gradients. Modules have to be in evaluation mode.

    One tensor has to come in and go out, whatever passes between the units: see `pass_through`.
    """
    output = pass_through(units, inputs)
    assert isinstance(output, Tensor)
    return output


@torch.no_grad()
def pass_through(units: Sequence[nn.Module], inputs: Activations) -> Activations:
    """The same, where several tensors may come in or go out."""
    output = inputs
    for unit in units:
        output = unit(output)
    return output
