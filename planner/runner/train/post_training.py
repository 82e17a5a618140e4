"""What follows a block's training: its heads measured on held-out data, its outputs written for the next block."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from planner.model.activations import Activations, first_of
from planner.runner.input.samples import Samples
from planner.runner.storage.cache import CacheWriter
from planner.runner.train.block import LoadedBlock
from planner.runner.train.pooled import Exits
from planner.runner.train.stop import StopSignal
from planner.schema.common import CacheDtype
from planner.schema.report_parts import ExitReport
from planner.tasks.base import LabelForm
from planner.training.device import wait_for
from planner.training.encoding import encode_activations
from planner.training.heads import answering
from planner.training.segment import infer, pass_through
from planner.training.tasks import MetricMeter, encode_labels


@dataclass
class _ExitMeter:
    """An exit being measured: its metric and its seconds so far."""

    unit: int
    units: Sequence[nn.Module]
    """The units between the exit before it and this one."""
    head: nn.Module | None
    metric: MetricMeter | None
    """None at the end of a block where there is no exit: the units up to there are timed and counted alone."""
    units_seconds: float = 0.0
    """Forward from the block's first unit to this exit's last, without heads."""
    head_seconds: float = 0.0


@dataclass(frozen=True)
class Prefix:
    """The units before a block, as every exit's size and speed count them."""

    parameters: int
    """Their parameters."""
    seconds_per_sample: float
    """Seconds of a forward through them, for one sample."""


@dataclass(frozen=True)
class MeasuredBlock:
    """A block's exits, measured on one part of the data set."""

    exits: tuple[ExitReport, ...]
    """Accuracy, parameters and speed of each exit."""
    behind: Prefix
    """The units before the next block."""


@dataclass(frozen=True)
class Target:
    """An activation cache that is being written."""

    writer: CacheWriter
    """Takes encoded records, in order."""
    dtype: CacheDtype
    """The numbers that it stores activations as."""
    labels: LabelForm
    """How it stores labels."""

    def append(self, first: int, outputs: Activations, labels: Tensor) -> None:
        """Write outputs (micro-batch, …) of the samples from position `first` on."""
        records, behind = encode_activations(outputs, self.dtype), encode_labels(labels, self.labels)
        for index, (record, label) in enumerate(zip(records, behind, strict=True), start=first):
            self.writer.append(index, record, label)


def validate(
    block: LoadedBlock, samples: Samples, exits: Exits, target: Target | None, prefix: Prefix, stop: StopSignal
) -> MeasuredBlock:
    """Run samples through the block once: accuracy and speed of every head and exit, outputs to `target` on the way."""
    meters = _meters(block, exits)
    first = 0
    for inputs, labels in samples.in_order():
        outputs = _count(meters, block.enter(inputs), labels)
        if target is not None:
            target.append(first, outputs, labels)
        first += len(labels)
        stop.check()
        # Gone before the next samples come through the frozen units, which have no room beside them.
        del outputs
    return _measured(meters, samples.count, prefix)


def try_heads(block: LoadedBlock, exits: Exits, inputs: Activations, labels: Tensor) -> Activations:
    """Run one micro-batch as `validate` does and keep no count: a dry step. Returns the block's outputs."""
    return _count(_meters(block, exits), block.enter(inputs), labels)


def try_writing(outputs: Activations, stored: CacheDtype) -> None:
    """Encode outputs (micro-batch, …) as a cache of dtype `stored` would, and write nothing: a dry step."""
    for record in encode_activations(outputs, stored):
        for part in record:
            zlib.crc32(part)


def _meters(block: LoadedBlock, exits: Exits) -> list[_ExitMeter]:
    """The block's heads and exits in order; the last is its end. A head behind a window is none of them."""
    meters: list[_ExitMeter] = []
    before: list[nn.Module] = []
    for segment in block.segments:
        for unit, module in enumerate(segment.units, start=segment.spec.units[0] + 1):
            before.append(module)
            if unit in exits or (unit == segment.spec.units[1] and not segment.spec.window):
                head = exits.get(unit, segment.head)
                answer = None if head is None else answering(head)
                meters.append(_ExitMeter(unit, before, answer, block.task.meter()))
                before = []
    return [*meters, _ExitMeter(block.spec.units[1], before, None, None)] if before else meters


def _count(meters: list[_ExitMeter], inputs: Activations, labels: Tensor) -> Activations:
    """Measure each exit on one micro-batch, and time units and heads apart; the last output.

    A model that ends at an exit has none of the heads before it.
    """
    activations = inputs
    units_seconds = 0.0
    for meter in meters:
        started = time.perf_counter()
        activations = pass_through(meter.units, activations)
        last = first_of(activations)
        wait_for(last.device)
        ran = time.perf_counter()
        units_seconds += ran - started
        meter.units_seconds += units_seconds
        if meter.metric is None:
            continue
        ending = last if meter.head is None else infer([meter.head], last)
        meter.metric.add(ending, labels)
        meter.head_seconds += time.perf_counter() - ran
    return activations


def _measured(meters: list[_ExitMeter], count: int, prefix: Prefix) -> MeasuredBlock:
    exits: list[ExitReport] = []
    parameters, units_seconds = prefix.parameters, prefix.seconds_per_sample
    for meter in meters:
        parameters += sum(parameter.numel() for unit in meter.units for parameter in unit.parameters())
        head = sum(parameter.numel() for parameter in meter.head.parameters()) if meter.head else 0
        units_seconds = prefix.seconds_per_sample + meter.units_seconds / count
        if meter.metric is None:
            continue
        further = meter.metric.further
        speed = 1 / (units_seconds + meter.head_seconds / count)
        exits.append(
            ExitReport(meter.unit, parameters + head, meter.metric.value, speed, samples=count, further=further)
        )
    return MeasuredBlock(tuple(exits), Prefix(parameters, units_seconds))


def write_cache(
    run: Callable[[Activations], Activations],
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
