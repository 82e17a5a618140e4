"""What follows a block's training: its heads measured on held-out data, its outputs written for the next block."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from planner.runner.input.samples import Samples
from planner.runner.storage.cache import CacheWriter
from planner.runner.storage.encoding import encode_samples
from planner.runner.train.block import LoadedBlock
from planner.runner.train.pooled import Exits
from planner.runner.train.stop import StopSignal
from planner.schema.common import Stored
from planner.schema.report import ExitReport
from planner.training.place import wait_for
from planner.training.segment import infer


@dataclass
class _Place:
    """Where a model may end, and its running count."""

    unit: int
    units: Sequence[nn.Module]
    """From the place before it."""
    head: nn.Module | None
    right: int = 0
    units_seconds: float = 0.0
    """From the block's first unit to the head's, without any head."""
    head_seconds: float = 0.0


@dataclass(frozen=True)
class Prefix:
    """What lies before a block in the finished model."""

    parameters: int
    """Parameters of the units before it."""
    seconds_per_sample: float
    """Forward through them."""


@dataclass(frozen=True)
class Measured:
    """What running samples through a block has shown."""

    exits: tuple[ExitReport, ...]
    """Its heads; the last is the end of the block."""
    behind: Prefix
    """What the next block has before it."""


@dataclass(frozen=True)
class Target:
    """A cache that a block's outputs go to."""

    writer: CacheWriter
    """Its writer."""
    dtype: Stored
    """How it holds them."""

    def append(self, first: int, outputs: Tensor, labels: Tensor) -> None:
        """Write outputs (micro-batch, …) of the samples from position `first` on."""
        records = encode_samples(outputs, self.dtype)
        for index, (record, label) in enumerate(zip(records, labels.tolist(), strict=True), start=first):
            self.writer.append(index, record, label)


def validate(
    block: LoadedBlock, samples: Samples, exits: Exits, target: Target | None, prefix: Prefix, stop: StopSignal
) -> Measured:
    """Run samples through the block once: accuracy and speed of every head and exit, outputs to `target` on the way."""
    places = _places(block, exits)
    first = 0
    for inputs, labels in samples.in_order():
        outputs = _count(places, block.enter(inputs), labels)
        if target is not None:
            target.append(first, outputs, labels)
        first += len(labels)
        stop.check()
        # Gone before the next samples come through the frozen units, which have no room beside them.
        del outputs
    return _measured(places, samples.count, prefix)


def try_heads(block: LoadedBlock, exits: Exits, inputs: Tensor, labels: Tensor) -> None:
    """What `validate` does with one micro-batch, without counting."""
    _count(_places(block, exits), block.enter(inputs), labels)


def _places(block: LoadedBlock, exits: Exits) -> list[_Place]:
    """The block's heads and exits in order; the last is its end."""
    places: list[_Place] = []
    before: list[nn.Module] = []
    for segment in block.segments:
        for unit, module in enumerate(segment.units, start=segment.spec.units[0] + 1):
            before.append(module)
            if unit == segment.spec.units[1] or unit in exits:
                places.append(_Place(unit, before, exits.get(unit, segment.head)))
                before = []
    return places


def _count(places: list[_Place], inputs: Tensor, labels: Tensor) -> Tensor:
    """Count what each place gets right of one micro-batch, and time units and heads apart; the last output.

    A model that ends at a place has none of the heads before it.
    """
    activations = inputs
    units_seconds = 0.0
    for place in places:
        started = time.perf_counter()
        activations = infer(place.units, activations)
        wait_for(activations.device)
        ran = time.perf_counter()
        logits = activations if place.head is None else infer([place.head], activations)
        place.right += int((logits.argmax(1) == labels).sum())
        units_seconds += ran - started
        place.units_seconds += units_seconds
        place.head_seconds += time.perf_counter() - ran
    return activations


def _measured(places: list[_Place], count: int, prefix: Prefix) -> Measured:
    exits: list[ExitReport] = []
    parameters, units_seconds = prefix.parameters, prefix.seconds_per_sample
    for place in places:
        parameters += sum(parameter.numel() for unit in place.units for parameter in unit.parameters())
        head = sum(parameter.numel() for parameter in place.head.parameters()) if place.head else 0
        units_seconds = prefix.seconds_per_sample + place.units_seconds / count
        speed = 1 / (units_seconds + place.head_seconds / count)
        exits.append(ExitReport(place.unit, parameters + head, place.right / count, speed))
    return Measured(tuple(exits), Prefix(parameters, units_seconds))


def write_cache(
    run: Callable[[Tensor], Tensor],
    samples: Samples,
    target: Target,
    key: tuple[int, ...] | None,
    views: int,
    stop: StopSignal,
) -> None:
    """Write what `run` makes of so many views of samples, a micro-batch (micro-batch, …) at a time.

    In the order of storage, or drawn as `key` says. What an earlier session has written is not run again, micro-batches
    are cut as they would have been.
    """
    if target.writer.samples == views * samples.count:
        return
    first = target.writer.samples // samples.micro_batch * samples.micro_batch
    for inputs, labels in samples.in_order(first, key, views):
        target.append(first, run(inputs), labels)
        first += len(labels)
        stop.check()
