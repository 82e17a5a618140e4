"""What follows a block's training: its heads measured on test data, its outputs written for the next block."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from planner.report.schema import ExitReport
from planner.runner.block import LoadedBlock
from planner.runner.cache import CacheWriter
from planner.runner.samples import Samples
from planner.runner.weights import bytes_of
from planner.training.segment import infer


@dataclass
class _Tally:
    """One head's running count."""

    unit: int
    right: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Prefix:
    """What lies before a block in the finished model."""

    parameters: int
    """Parameters of the units before it."""
    seconds_per_sample: float
    """Forward through them."""


def validate(
    block: LoadedBlock, samples: Samples, writer: CacheWriter | None, prefix: Prefix
) -> tuple[ExitReport, ...]:
    """Run test samples through the block once: accuracy and speed of every head, outputs to `writer` on the way."""
    tallies = [_Tally(segment.spec.units[1]) for segment in block.segments]
    for inputs, labels in samples.in_order():
        outputs = _count(block, tallies, block.enter(inputs), labels)
        if writer is not None:
            writer.append(bytes_of(outputs.contiguous()), labels.tolist())
        # Gone before the next samples come through the frozen units, which have no room beside them.
        del outputs
    return tuple(_exit_reports(block, tallies, samples.count, prefix))


def _count(block: LoadedBlock, tallies: list[_Tally], inputs: Tensor, labels: Tensor) -> Tensor:
    """Count what each head gets right of one micro-batch, time it from the block's first unit on; the last output."""
    started = time.perf_counter()
    activations = inputs
    for segment, tally in zip(block.segments, tallies, strict=True):
        activations = infer(segment.units, activations)
        logits = activations if segment.head is None else infer([segment.head], activations)
        tally.right += int((logits.argmax(1) == labels).sum())
        tally.seconds += time.perf_counter() - started
    return activations


def _exit_reports(block: LoadedBlock, tallies: list[_Tally], count: int, prefix: Prefix) -> Iterator[ExitReport]:
    parameters = prefix.parameters
    for segment, tally in zip(block.segments, tallies, strict=True):
        parameters += sum(parameter.numel() for unit in segment.units for parameter in unit.parameters())
        head = sum(parameter.numel() for parameter in segment.head.parameters()) if segment.head else 0
        seconds = prefix.seconds_per_sample + tally.seconds / count
        yield ExitReport(tally.unit, parameters + head, tally.right / count, 1 / seconds)


def write_cache(block: LoadedBlock, samples: Samples, writer: CacheWriter) -> None:
    """Run samples through frozen units and the block's own, in order, and write what comes out."""
    units = [unit for segment in block.segments for unit in segment.units]
    for inputs, labels in samples.in_order():
        writer.append(bytes_of(infer(units, block.enter(inputs)).contiguous()), labels.tolist())


def prefix_after(block: LoadedBlock, exits: tuple[ExitReport, ...]) -> Prefix:
    """What the next block has before it."""
    last = block.segments[-1]
    head = sum(parameter.numel() for parameter in last.head.parameters()) if last.head else 0
    return Prefix(exits[-1].parameters - head, 1 / exits[-1].samples_per_second)


def record_bytes(block: LoadedBlock) -> int:
    """Bytes of one sample's output as the cache holds it."""
    return 4 * torch.Size(block.output_shape).numel()
