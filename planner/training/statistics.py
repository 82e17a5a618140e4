"""Batch normalisation that holds still: what was learned of the statistics stays in force while weights are trained on.

A polish trains on what has been trained, often in far smaller micro-batches. Statistics of these would be others than
those that every unit behind has learned to live with, and its first steps would undo what the blocks have reached.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def hold_statistics(modules: Iterable[nn.Module]) -> None:
    """From here on normalise by running statistics, and leave them as they are.

    A unit graph in which something depends on the batch runs as in evaluation, all of it: without dropout, that is.
    """
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d) or getattr(part, "depends_on_batch", False):
                part.eval()
