"""Pooled linear exits of a trained block: at every unit boundary the plan names, from one short pass over samples.

They are fitted when the block's gradients and optimizer state are gone, in the room that those have left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from planner.heads.pooled import PooledHead
from planner.model.activations import Activations, first_of
from planner.model.build import build_unit
from planner.model.heads import head_unit
from planner.model.shapes import Shape
from planner.runner.input.samples import Samples
from planner.runner.storage.weights import named_tensors, save_tensors
from planner.runner.train.block import LoadedBlock
from planner.runner.train.context import BlockContext
from planner.runner.train.stop import StopSignal
from planner.schema.common import Dtype
from planner.training.device import to_device
from planner.training.discriminant import pooled_features
from planner.training.runtime import release_memory
from planner.training.segment import pass_through

Exits = Mapping[int, nn.Module]
"""Fitted exits in evaluation mode, by the number of units before them."""

_MOST_SAMPLES = 8192
_LEAST_SAMPLES = 256
_SHARE = 0.06
"""Of the samples that training has stepped over. Forward alone is a third of a step, and sums and their solution come
on top: fitting stays within 3 % (`benchmarks/exits.py`)."""


def samples_to_fit(count: int, stepped: int) -> int:
    """How many of `count` training samples exits are fitted to, where training has stepped over `stepped`."""
    return min(count, _MOST_SAMPLES, max(_LEAST_SAMPLES, int(_SHARE * stepped)))


def wanted_exits(block: BlockContext, micro_batch: int, room_bytes: int) -> dict[int, Shape]:
    """Units before each pooled exit of a block, and the shape it sees: from the first on, as many as have room."""
    first, last = block.spec.units
    found: dict[int, Shape] = {}
    for planned in block.plan.exits_of(block.index):
        if first < planned.unit <= last and isinstance(planned.head, PooledHead):
            shape = block.run.shapes[planned.unit]
            model = block.plan.model
            room_bytes -= model.task.fit_bytes(planned.head.features(shape), model.classes, micro_batch)
            if room_bytes < 0:
                break
            found[planned.unit] = shape
    return found


def fit_exits(
    block: LoadedBlock,
    wanted: Mapping[int, Shape],
    samples: Samples,
    key: tuple[int, ...] | None,
    count: int,
    classes: int,
    stop: StopSignal,
    dtype: Dtype = "float32",
) -> Exits:
    """Run the first `count` samples through the trained block, in storage's order or as `key` draws them, and fit."""
    fits = {unit: block.task.linear_fit(PooledHead.features(shape), classes) for unit, shape in wanted.items()}
    with closing(samples.in_order(0, key)) as batches:
        for inputs, labels in islice(batches, -(-count // samples.micro_batch)):
            for unit, activations in _through(block, inputs):
                if unit in fits:
                    # Small, and summed up by the processor: a GPU adds up in another order every time.
                    fits[unit].add(pooled_features(first_of(activations)).cpu(), labels.cpu())
            stop.check()
            # Gone before the next samples come: fitting has no room beside what validating has.
            del activations, inputs
    release_memory()  # what passing needed of library pages should not lie under what solving does
    return {
        unit: to_device(_exit(shape, classes, dtype, *fits.pop(unit).solve()), block.device)
        for unit, shape in wanted.items()
    }


def _exit(shape: Shape, classes: int, dtype: Dtype, weight: Tensor, bias: Tensor) -> nn.Module:
    module = build_unit(head_unit(PooledHead("pooled"), shape, (classes,)), shape, dtype=dtype).eval()
    (linear,) = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return module


def save_exits(path: Path, exits: Exits) -> None:
    """Write them, named `exits.<units before>`."""
    save_tensors(path, named_tensors((f"exits.{unit}", module) for unit, module in exits.items()))


def _through(block: LoadedBlock, inputs: Activations) -> Iterator[tuple[int, Activations]]:
    """The output behind every unit of a block, with the number of units before it."""
    activations = block.enter(inputs)
    del inputs
    unit = block.spec.units[0]
    for segment in block.segments:
        for module in segment.units:
            activations = pass_through([module], activations)
            unit += 1
            yield unit, activations
