"""What is done with a block once it is trained: its exits fitted, its heads measured, its outputs cached."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from torch import Tensor

from planner.model.activations import Activations
from planner.runner.input.samples import Samples
from planner.runner.train.context import BlockContext
from planner.runner.train.inputs import Inputs, Parts
from planner.runner.train.passes import Watch, rehearse
from planner.runner.train.phases import Phases
from planner.runner.train.pooled import Exits, fit_exits, samples_to_fit, save_exits, wanted_exits
from planner.runner.train.post_training import (
    MeasuredBlock,
    Prefix,
    Target,
    try_heads,
    try_writing,
    validate,
    write_cache,
)
from planner.runner.train.train import Trained
from planner.schema.report_parts import ExitReport
from planner.training.runtime import release_memory, trim_after_each


@dataclass(frozen=True)
class FinishedBlock:
    """What finishing a block has come to."""

    exits: tuple[ExitReport, ...]
    """The block's heads and exits, as measured."""
    behind: Prefix
    """What the next block has before it."""
    cache_bytes: int
    """Bytes written to caches."""


class BlockFinisher:
    """Finishes one trained block. A `fallback` is as in `BlockContext.setting`."""

    def __init__(
        self, context: BlockContext, trained: Trained, inputs: Inputs, splits: Parts, prefix: Prefix, phases: Phases
    ) -> None:
        """`splits` are what the block reads, opened; `prefix` is what lies before it."""
        self._context = context
        self._block = trained.block
        self._steps = trained.position.step
        self._inputs = inputs
        self._splits = splits
        self._prefix = prefix
        self._phases = phases
        following = context.following
        self._target = following if following is not None and following.reads_cache else None
        self._key = inputs.drawn_by(context)

    def finish(self, fallback: int) -> FinishedBlock:
        """Fit exits, measure all heads, and write what the next block reads.

        Raises OverBudgetError, or what torch raises, where the fallback's micro-batch does not fit.
        """
        exits = self._fit_exits(fallback)
        self._phases.begin(self._context, "validate", fallback)
        with ExitStack() as opened:
            targets = self._open_targets(opened)
            measured = self._measure(fallback, exits, targets)
            del exits
            if targets:
                self._write_cache(fallback, targets["train"])
            for target in targets.values():
                target.writer.finish()
            written = sum(target.writer.bytes_written for target in targets.values())
        return FinishedBlock(_exit_reports(measured), measured["test"].behind, written)

    def _open_targets(self, opened: ExitStack) -> dict[str, Target]:
        """The caches that the block's outputs go to, by part; empty where the next block reads none."""
        if self._target is None:
            return {}
        return {part: self._inputs.target(self._target, part, opened) for part in self._splits}

    def _measure(self, fallback: int, exits: Exits, targets: Mapping[str, Target]) -> dict[str, MeasuredBlock]:
        measured = {}
        watch = self._phases.watch(self._context, fallback, "measuring its heads")
        for part in self._splits:
            if part == "train":
                continue
            samples = self._samples(part, fallback)
            self._rehearse(fallback, samples, samples.count, watch, exits)
            measured[part] = validate(self._block, samples, exits, targets.get(part), self._prefix, watch)
            del samples  # its buffers; the next part has its own
        return measured

    def _write_cache(self, fallback: int, target: Target) -> None:
        self._phases.begin(self._context, "cache", fallback)
        watch = self._phases.watch(self._context, fallback, "writing its cache")
        samples = self._samples("train", fallback)
        views = self._inputs.views("train")
        self._rehearse(fallback, samples, samples.count * views, watch)
        write_cache(self._block.run_through, samples, target, self._key, views, watch)

    def _samples(self, part: str, fallback: int) -> Samples:
        micro_batch = self._context.micro_batches[fallback]
        return self._inputs.samples(self._context, part, self._splits[part], micro_batch)

    def _fit_exits(self, fallback: int) -> Exits:
        """The block's pooled exits, fitted and written.

        They have the room that the plan's peak leaves; what does not fit there is left out.
        """
        context = self._context
        predicted = context.setting(fallback).predicted
        room = predicted.fit_room_bytes
        if room is None:
            room = predicted.peak_bytes - predicted.peak_bytes_by_phase.validate
        size = context.micro_batches[fallback]
        wanted = wanted_exits(context, size, room)
        if not wanted:
            return {}
        self._phases.begin(context, "fit", fallback)
        watch = self._phases.watch(context, fallback, "fitting its exits")
        samples = self._samples("train", fallback)
        count = samples_to_fit(samples.count, self._steps * context.plan.training.batch)

        def fit(most: int) -> Exits:
            classes, dtype = context.plan.model.classes, context.plan.training.dtype
            return fit_exits(self._block, wanted, samples, self._key, most, classes, watch, dtype)

        self._phases.limit(context, fallback, warms=True)
        with trim_after_each(self._block.modules()):
            fit(size)
        release_memory()
        self._phases.limit(context, fallback)
        exits = fit(count)
        save_exits(context.exits_path, exits)
        release_memory()
        return exits

    def _rehearse(self, fallback: int, samples: Samples, count: int, watch: Watch, exits: Exits | None = None) -> None:
        """The dry step of a pass through the block, with its heads and exits where these are given."""
        block = self._block
        stored = None if self._target is None else self._target.spec.input.dtype
        self._phases.limit(self._context, fallback, warms=True)

        def run(inputs: Activations, labels: Tensor) -> None:
            outputs = block.run_through(inputs) if exits is None else try_heads(block, exits, inputs, labels)
            if stored is not None:
                try_writing(outputs, stored)

        modules = [*block.modules(), *(exits or {}).values()]
        rehearse(modules, run, samples, count, watch, lambda: self._phases.limit(self._context, fallback))


def _exit_reports(measured: Mapping[str, MeasuredBlock]) -> tuple[ExitReport, ...]:
    """A block's heads as the test part showed them, each with its accuracy on what was held out of training data."""
    exits = measured["test"].exits
    if "validation" not in measured:
        return exits
    held_out = measured["validation"].exits
    return tuple(
        replace(found, validation_accuracy=other.accuracy, validation_samples=other.samples)
        for found, other in zip(exits, held_out, strict=True)
    )
